"""The tables. Records are kept whole as JSON text; columns beside it are what queries ask for.

Moments are seconds since the epoch, in UTC, so that they compare alike in every database.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

devices = Table(
    "devices",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("device_class", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("fingerprint", String(16), nullable=False),
    Column("agent_version", Text, nullable=False),
    Column("session", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("interval_seconds", Float),
    Column("lease_until", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("registered_at", Float, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("state_digest", String(64)),
    Column("facts", Text, nullable=False),
    Column("vitals", Text),
    Index("ix_devices_place", "device_class", "region"),
    Index("ix_devices_lease", "online", "lease_until"),
)

device_labels = Table(
    "device_labels",
    metadata,
    Column("device", ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

desired = Table(
    "desired",
    metadata,
    Column("device", ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("handed_over", Boolean, nullable=False, index=True),
    Column("state", Text, nullable=False),
)

reported = Table(
    "reported",
    metadata,
    Column("device", ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("phase", String(32), nullable=False),
    Column("active_variant", String(64)),
    Column("wait_reason", String(32)),
    Column("mode", String(16)),
    Column("received_at", Float, nullable=False),
    Column("phase_since", Float, nullable=False),
    Column("state", Text, nullable=False),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("pushed_at", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("portfolio", Text, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("variant", String(64), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("fingerprint", String(16), nullable=False),
    Column("device", String(64), nullable=False),
    Column("device_class", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("report", Text, nullable=False),
    Index("ix_evidence_recent", "model", "received_at"),
    Index("ix_evidence_device", "device", "received_at"),
)

failures = Table(
    "failures",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("fingerprint", String(16), primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("count", Integer, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("state", String(32), nullable=False, index=True),
    Column("created_at", Float, nullable=False),
    Column("body", Text, nullable=False),
)

rollout_members = Table(
    "rollout_members",
    metadata,
    Column("rollout", ForeignKey("rollouts.id", ondelete="CASCADE"), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("stratum", String(200), nullable=False),
    Column("state", String(32), nullable=False),
    Column("body", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("level", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("actor", Text, nullable=False),
    Column("device", String(64), index=True),
    Column("rollout", String(64), index=True),
    Column("message", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)
