"""The hub's database as a PostgreSQL: edges around psycopg, and the tables of it."""

from tocsin_hub.postgres.connection import PostgresReader, write_to
from tocsin_hub.postgres.copying import copy
from tocsin_hub.postgres.lead import PostgresLead, seconds_since_lead, stand_by
from tocsin_hub.postgres.schema import check, prepare, tidy

__all__ = [
    "PostgresLead",
    "PostgresReader",
    "check",
    "copy",
    "prepare",
    "seconds_since_lead",
    "stand_by",
    "tidy",
    "write_to",
]
