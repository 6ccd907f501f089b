"""Athena's SQL as plans: `plan_statement` and the values of its parameters."""

from infra.local.athena.language.parameters import bind_parameters
from infra.local.athena.language.statement import plan_statement

__all__ = ["bind_parameters", "plan_statement"]
