"""The gRPC face: the sidecar's service over the engine, so that the vendor's own Sidecar SDKs run against it unchanged.

    headgate serve --grpc 127.0.0.1:50051

What each call answers, and what it does while Redis is away, is told in docs/sidecar.md. Needs the extra
`headgate[sidecar]`.
"""
