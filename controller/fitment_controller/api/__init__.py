"""The HTTP interface: view-models and commands under `/v1`, artifacts, `/metrics`, `/healthz`.

Handlers translate and nothing else; decisions are the fleet service's. Answers are JSON in the
frame of `views.envelope`, errors included.
"""
