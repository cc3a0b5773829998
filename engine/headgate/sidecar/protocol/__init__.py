"""The gRPC API: its .proto file, and what `make protocol` makes of it."""
