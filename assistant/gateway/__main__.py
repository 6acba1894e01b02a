"""`python -m assistant.gateway`: a private gateway; see `process.serve_private`."""

from assistant.gateway.process import serve_private

serve_private()
