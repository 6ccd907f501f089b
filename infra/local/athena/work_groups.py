"""Work groups: where results go, who decides it, how much a query may scan."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.athena.paging import page_of
from infra.local.athena.protocol import Answer, InvalidRequestError, Request, select_members
from infra.local.athena.query import ENGINE_VERSION
from infra.local.athena.store import Store
from infra.local.athena.tags import Tags, resource_arn

KIND = "work_group"
PRIMARY = "primary"
DEFAULT_CONFIGURATION = {
    "ResultConfiguration": {},
    "ManagedQueryResultsConfiguration": {"Enabled": False},
    "EnforceWorkGroupConfiguration": True,
    "PublishCloudWatchMetricsEnabled": False,
    "RequesterPaysEnabled": False,
    "EngineVersion": ENGINE_VERSION,
}
NO_OUTPUT_LOCATION = (
    "No output location provided. An output location is required either through the Workgroup result configuration "
    "setting or as an API input."
)
RESULT_MEMBERS = ("OutputLocation", "EncryptionConfiguration", "ExpectedBucketOwner", "AclConfiguration")


@dataclass(frozen=True)
class WorkGroups:
    store: Store
    tags: Tags

    def ensure_primary(self, output_location: str) -> None:
        """`primary` exists from the first start on and lets clients choose another place for their results."""
        if self.store.get(KIND, PRIMARY) is None:
            configuration = {
                **DEFAULT_CONFIGURATION,
                "EnforceWorkGroupConfiguration": False,
                "ResultConfiguration": {"OutputLocation": output_location},
            }
            self._put({"Name": PRIMARY, "Configuration": configuration, "Description": ""})

    def require(self, name: str) -> dict[str, Any]:
        found = self.store.get(KIND, name)
        if found is None:
            raise InvalidRequestError(f"WorkGroup {name} is not found.")
        return found

    def require_enabled(self, name: str) -> dict[str, Any]:
        group = self.require(name)
        if group["State"] != "ENABLED":
            raise InvalidRequestError(f"WorkGroup {name} is disabled.")
        return group

    def create_work_group(self, request: Request) -> Answer:
        name = request["Name"]
        if self.store.get(KIND, name) is not None:
            raise InvalidRequestError(f"WorkGroup {name} is already created")
        configuration = {**DEFAULT_CONFIGURATION, **_with_engine(request.get("Configuration", {}))}
        _check_location(configuration["ResultConfiguration"].get("OutputLocation"))
        self._put({"Name": name, "Configuration": configuration, "Description": request.get("Description", "")})
        self.tags.add(resource_arn("workgroup", name), request.get("Tags", []))
        return {}

    def get_work_group(self, request: Request) -> Answer:
        return {"WorkGroup": select_members(self.require(request["WorkGroup"]), "WorkGroup")}

    def list_work_groups(self, request: Request) -> Answer:
        summaries = [
            {**select_members(group, "WorkGroupSummary"), "EngineVersion": group["Configuration"]["EngineVersion"]}
            for group in self.store.documents(KIND)
        ]
        return page_of(summaries, request, "WorkGroups", lambda group: str(group["Name"]))

    def update_work_group(self, request: Request) -> Answer:
        group = self.require(request["WorkGroup"])
        configuration = apply_updates(group["Configuration"], request.get("ConfigurationUpdates", {}))
        _check_location(configuration["ResultConfiguration"].get("OutputLocation"))
        changed = {name: request[name] for name in ("State", "Description") if name in request}
        self.store.put(KIND, group["Name"], {**group, **changed, "Configuration": configuration})
        return {}

    def delete_work_group(self, request: Request) -> Answer:
        name = request["WorkGroup"]
        self.require(name)
        if name == PRIMARY:
            raise InvalidRequestError("The primary WorkGroup cannot be deleted.")
        is_empty = not (
            self.store.query_ids(name, None, 1)
            or self.store.documents("named_query", name)
            or self.store.documents("prepared_statement", name)
        )
        if not is_empty and not request.get("RecursiveDeleteOption"):
            raise InvalidRequestError(f"WorkGroup {name} is not empty: set RecursiveDeleteOption to delete it")
        self.store.delete_scope(name)
        self.store.delete(KIND, name)
        self.tags.forget(resource_arn("workgroup", name))
        return {}

    def _put(self, group: Mapping[str, Any]) -> None:
        self.store.put(KIND, group["Name"], {**group, "State": "ENABLED", "CreationTime": time.time()})


def choose_result_configuration(group: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The group's where it is enforced, else what the client asked for, the group's filling in.

    The OutputLocation ends with a slash. Raises InvalidRequestError where there is none.
    """
    own = group["Configuration"]["ResultConfiguration"]
    chosen = own if group["Configuration"].get("EnforceWorkGroupConfiguration") else {**own, **asked}
    location = chosen.get("OutputLocation")
    if not location:
        raise InvalidRequestError(NO_OUTPUT_LOCATION)
    _check_location(location)
    return {**chosen, "OutputLocation": location if location.endswith("/") else f"{location}/"}


def apply_updates(configuration: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """A group's configuration after ConfigurationUpdates, whose `Remove...` members take something away."""
    results = dict(configuration["ResultConfiguration"])
    result_updates = updates.get("ResultConfigurationUpdates", {})
    for name in RESULT_MEMBERS:
        if name in result_updates:
            results[name] = result_updates[name]
        if result_updates.get(f"Remove{name}"):
            results.pop(name, None)
    changed = {**configuration, **_with_engine(updates), "ResultConfiguration": results}
    managed = updates.get("ManagedQueryResultsConfigurationUpdates")
    if managed:
        changed["ManagedQueryResultsConfiguration"] = {"Enabled": bool(managed.get("Enabled"))}
    for name in ("BytesScannedCutoffPerQuery", "CustomerContentEncryptionConfiguration"):
        if updates.get(f"Remove{name}"):
            changed.pop(name, None)
    return select_members(changed, "WorkGroupConfiguration")


def _with_engine(configuration: Mapping[str, Any]) -> dict[str, Any]:
    selected = configuration.get("EngineVersion", {}).get("SelectedEngineVersion")
    engine = {**ENGINE_VERSION, **({"SelectedEngineVersion": selected} if selected else {})}
    return {**configuration, **({"EngineVersion": engine} if selected else {})}


def _check_location(location: str | None) -> None:
    bucket = location.removeprefix("s3://").partition("/")[0] if location else ""
    if location and not (location.startswith("s3://") and bucket):
        raise InvalidRequestError(f"outputLocation is not a valid S3 path: {location}: expected s3://bucket/prefix/")
