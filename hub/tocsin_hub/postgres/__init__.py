"""The hub's database as a PostgreSQL: edges around psycopg, and the tables of it."""

from tocsin_hub.postgres.connection import PostgresReader, write_to
from tocsin_hub.postgres.copying import copy
from tocsin_hub.postgres.lead import PostgresLead, stand_by
from tocsin_hub.postgres.schema import prepare, tidy

__all__ = ["PostgresLead", "PostgresReader", "copy", "prepare", "stand_by", "tidy", "write_to"]
