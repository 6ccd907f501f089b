"""Tags of work groups and data catalogs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.local.athena.paging import page_of
from infra.local.athena.protocol import Answer, InvalidRequestError, Request, ResourceNotFoundError
from infra.local.athena.store import Store

KIND = "tags"
ACCOUNT = "000000000000"
RESOURCES = {"workgroup": "work_group", "datacatalog": "data_catalog"}
Tag = Mapping[str, str]


def resource_arn(resource: str, name: str) -> str:
    """Without a region: one endpoint has one."""
    return f"{resource}/{name}"


@dataclass(frozen=True)
class Tags:
    store: Store

    def add(self, resource: str, tags: Iterable[Tag]) -> None:
        known = self.store.get(KIND, resource) or {}
        self.store.put(KIND, resource, known | {tag["Key"]: tag.get("Value", "") for tag in tags if "Key" in tag})

    def forget(self, resource: str) -> None:
        self.store.delete(KIND, resource)

    def tag_resource(self, request: Request) -> Answer:
        self.add(self._resource(request["ResourceARN"]), request["Tags"])
        return {}

    def untag_resource(self, request: Request) -> Answer:
        resource = self._resource(request["ResourceARN"])
        known = self.store.get(KIND, resource) or {}
        left = {key: value for key, value in known.items() if key not in request["TagKeys"]}
        self.store.put(KIND, resource, left)
        return {}

    def list_tags_for_resource(self, request: Request) -> Answer:
        known = self.store.get(KIND, self._resource(request["ResourceARN"])) or {}
        tags = [{"Key": key, "Value": known[key]} for key in sorted(known)]
        return page_of(tags, request, "Tags", lambda tag: tag["Key"], default=75)

    def _resource(self, arn: str) -> str:
        """`workgroup/primary` of an ARN whose resource exists."""
        kind, _, name = arn.rpartition(":")[2].partition("/")
        if not arn.startswith("arn:") or kind not in RESOURCES or not name:
            raise InvalidRequestError(f"{arn} is no ARN of a work group or a data catalog")
        if self.store.get(RESOURCES[kind], name) is None:
            raise ResourceNotFoundError(f"{kind} {name} does not exist", arn)
        return resource_arn(kind, name)
