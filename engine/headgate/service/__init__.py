"""What the faces share: the settings of `headgate serve`, its log lines, and the figures that Prometheus reads."""
