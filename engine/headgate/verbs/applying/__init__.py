"""The parts of `headgate.verbs.apply`: each judges one section of a policy, and says what is to be written."""
