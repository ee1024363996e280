"""What devices promise, wait for and adapt to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, which are filled as devices report, and one device's evidence in order."""
    op.add_column("devices", sa.Column("interval_seconds", sa.Float))
    op.add_column("reported", sa.Column("wait_reason", sa.String(32)))
    op.add_column("reported", sa.Column("mode", sa.String(16)))
    op.create_index("ix_evidence_device", "evidence", ["device", "received_at"])
