"""One query execution, as it is kept and as Athena's clients read it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from infra.local.athena.protocol import Answer, select_members

FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")
ENGINE_VERSION = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"}


@dataclass(frozen=True)
class Query:
    """Every field is JSON. Times are epoch seconds; `result_configuration.OutputLocation` is the object's whole URI.

    `statistics` holds Athena's names and values, `columns` Athena's ColumnInfo, `reuse` the ResultReuseConfiguration
    as it was asked for, `trino_ids` what runs in Trino.
    """

    id: str
    text: str
    work_group: str
    statement_type: str
    substatement_type: str | None
    context: dict[str, str]
    parameters: list[str]
    result_configuration: dict[str, Any]
    submitted_at: float
    reuse: dict[str, Any] | None = None
    state: str = "QUEUED"
    reason: str | None = None
    error: dict[str, Any] | None = None
    completed_at: float | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    columns: list[dict[str, Any]] = field(default_factory=list)
    update_count: int | None = None
    trino_ids: list[str] = field(default_factory=list)

    @property
    def output_location(self) -> str:
        return str(self.result_configuration["OutputLocation"])

    @property
    def fingerprint(self) -> str:
        """Equal for queries of which one may take the other's result."""
        parts = (self.text.strip(), self.work_group, sorted(self.context.items()), self.parameters)
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def answer(self) -> Answer:
        """The QueryExecution of GetQueryExecution."""
        status = {
            "State": self.state,
            "StateChangeReason": self.reason,
            "SubmissionDateTime": self.submitted_at,
            "CompletionDateTime": self.completed_at,
            "AthenaError": self.error,
        }
        values = {
            "QueryExecutionId": self.id,
            "Query": self.text,
            "StatementType": self.statement_type,
            "SubstatementType": self.substatement_type,
            "ManagedQueryResultsConfiguration": {"Enabled": False},
            "ResultConfiguration": self.result_configuration,
            "ResultReuseConfiguration": self.reuse,
            "QueryExecutionContext": self.context,
            "Status": select_members(status, "QueryExecutionStatus"),
            "Statistics": select_members(self.statistics, "QueryExecutionStatistics"),
            "WorkGroup": self.work_group,
            "EngineVersion": ENGINE_VERSION,
            "ExecutionParameters": self.parameters or None,
        }
        return select_members(values, "QueryExecution")
