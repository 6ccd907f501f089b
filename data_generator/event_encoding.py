"""Event columns -> Kafka values: compact UTF-8 JSON, assembled column by column.

A value is a fixed-width head (ids and time, written as a byte matrix) followed by ready-made fragments looked up by
index: page, referrer, query, product, quantity, device and place. No Python object exists per event but the value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]

from data_generator.catalogue import FIRST_CATEGORY_ID, FIRST_PRODUCT_ID, Catalogue, IntArray
from data_generator.population import (
    CART,
    CHECKOUT,
    CITIES,
    CLICK,
    DEVICES,
    EVENT_TYPES,
    PAGE_VIEW,
    PURCHASE,
    REMOVE_FROM_CART,
    SEARCH,
    USER_ID_DIGITS,
    VIEW,
    Population,
)
from data_generator.session_simulation import LARGEST_QUANTITY, EventColumns

SCHEMA_VERSION = 1
REFERRERS = ("", "https://www.google.com/", "https://news.example/", "https://m.facebook.com/", "newsletter")
REFERRER_WEIGHTS = (0.38, 0.34, 0.06, 0.12, 0.10)

MS_PER_DAY = 86_400_000
UUID_VERSION_MASK, UUID_VERSION_4 = np.uint64(0xFFFFFFFFFFFF0FFF), np.uint64(0x4000)
UUID_VARIANT_MASK, UUID_VARIANT_RFC = np.uint64(0x3FFFFFFFFFFFFFFF), np.uint64(0x8000000000000000)

Uuids = npt.NDArray[np.uint64]  # (n, 2): the high and the low 64 bits
Bytes = npt.NDArray[np.uint8]

_HEX_OF_16_BITS = np.frombuffer("".join(f"{i:04x}" for i in range(65536)).encode(), dtype=np.uint32)
_TWO_DIGITS = np.frombuffer("".join(f"{i:02d}" for i in range(100)).encode(), dtype=np.uint8).reshape(100, 2)
_THREE_DIGITS = np.frombuffer("".join(f"{i:03d}" for i in range(1000)).encode(), dtype=np.uint8).reshape(1000, 3)
# Where the groups of a UUID's 32 hex digits stand among its 36 characters.
_UUID_GROUPS = ((0, 0, 8), (9, 8, 4), (14, 12, 4), (19, 16, 4), (24, 20, 12))

_HEAD = (
    b'{"event_id":"00000000-0000-0000-0000-000000000000","event_time":"0000-00-00T00:00:00.000Z",'
    b'"session_id":"00000000-0000-0000-0000-000000000000","user_id":"' + b"0" * USER_ID_DIGITS + b'"'
)
_EVENT_ID_AT = _HEAD.index(b'"event_id":"') + len(b'"event_id":"')
_EVENT_TIME_AT = _HEAD.index(b'"event_time":"') + len(b'"event_time":"')
_SESSION_ID_AT = _HEAD.index(b'"session_id":"') + len(b'"session_id":"')
_USER_ID_AT = _HEAD.index(b'"user_id":"') + len(b'"user_id":"')


@dataclass(frozen=True)
class SessionColumns:
    """One entry per session: whose it is and what its events share; `referrer` belongs to the first event."""

    user: IntArray
    session_id: Uuids
    device: IntArray
    referrer: IntArray


def draw_uuids(rng: np.random.Generator, size: int) -> Uuids:
    """Random UUIDs (version 4)."""
    words = rng.integers(0, 2**64, size=(size, 2), dtype=np.uint64)
    words[:, 0] = (words[:, 0] & UUID_VERSION_MASK) | UUID_VERSION_4
    words[:, 1] = (words[:, 1] & UUID_VARIANT_MASK) | UUID_VARIANT_RFC
    return words


def format_uuids(uuids: Uuids) -> Bytes:
    """(n, 36) characters, like `str(uuid.UUID(...))`."""
    words = np.ascontiguousarray(uuids).astype(">u8").view(">u2").astype(np.uint16)
    digits = np.take(_HEX_OF_16_BITS, words).view(np.uint8)
    text = np.full((len(uuids), 36), ord("-"), dtype=np.uint8)
    for target, source, length in _UUID_GROUPS:
        text[:, target : target + length] = digits[:, source : source + length]
    return text


def format_times(time_ms: npt.NDArray[np.int64]) -> Bytes:
    """(n, 24) characters, like 2025-04-01T08:15:30.125Z."""
    day, ms_of_day = np.divmod(time_ms, MS_PER_DAY)
    days, day_index = np.unique(day, return_inverse=True)
    dates = np.array([np.datetime64(int(d), "D").item().isoformat().encode() for d in days], dtype="S10")
    text = np.empty((len(time_ms), 24), dtype=np.uint8)
    text[:] = np.frombuffer(b"0000-00-00T00:00:00.000Z", dtype=np.uint8)
    text[:, 0:10] = dates.view(np.uint8).reshape(len(days), 10)[day_index]
    text[:, 11:13] = _TWO_DIGITS[ms_of_day // 3_600_000]
    text[:, 14:16] = _TWO_DIGITS[ms_of_day // 60_000 % 60]
    text[:, 17:19] = _TWO_DIGITS[ms_of_day // 1000 % 60]
    text[:, 20:23] = _THREE_DIGITS[ms_of_day % 1000]
    return text


class EventEncoder:
    """Encodes events of one population and one catalogue."""

    def __init__(self, population: Population, catalogue: Catalogue) -> None:
        self.keys = np.array([user_id.encode() for user_id in population.user_ids()], dtype=object)
        self._user_digits = np.array(self.keys.tolist(), dtype=f"S{USER_ID_DIGITS}").view(np.uint8)
        self._user_digits = self._user_digits.reshape(len(population), USER_ID_DIGITS)
        self._city = population.city.astype(np.int64)
        self._categories = len(catalogue.categories)
        self._queries_width = max(len(category.queries) for category in catalogue.categories)

        shop = catalogue.shop_url
        listing_urls = [f"{shop}/category/{category.code.replace('.', '/')}" for category in catalogue.categories]
        # One row per event type; the columns are home and the categories, equal where the page has no category.
        self._pages = _fragments(
            {"event_type": name, **_page(number, place, shop, listing_urls)}
            for number, name in enumerate(EVENT_TYPES)
            for place in range(-1, self._categories)
        )
        self._referrers = _fragments({"referrer": referrer} if referrer else {} for referrer in REFERRERS)
        self._queries = _fragments(
            [
                {},
                *(
                    {"search_query": category.queries[number % len(category.queries)]}
                    for category in catalogue.categories
                    for number in range(self._queries_width)
                ),
            ]
        )
        products = [
            {
                "product_id": str(FIRST_PRODUCT_ID + number),
                "category_id": str(FIRST_CATEGORY_ID + category),
                "category_code": catalogue.categories[category].code,
                "brand": catalogue.brands[number],
                "price": catalogue.prices[number].item() / 100,
            }
            for number, category in enumerate(catalogue.category.tolist())
        ]
        on_its_page = [{"page_url": f"{shop}/product/{p['product_id']}", **p} for p in products]
        self._products = _fragments([{}, *products, *on_its_page])
        self._number_of_products = len(products)
        self._quantities = _fragments([{}, *({"quantity": units} for units in range(LARGEST_QUANTITY + 1))])
        self._tails = _fragments(
            (
                {
                    "device": {"type": kind, "os": system, "browser": browser},
                    "geo": {"country": country, "city": city},
                    "schema_version": SCHEMA_VERSION,
                }
                for kind, system, browser in DEVICES
                for country, city in CITIES
            ),
            closing="}",
        )

    def encode(self, events: EventColumns, event_ids: Uuids, sessions: SessionColumns) -> list[bytes]:
        """One Kafka value per event, in order; `event_ids` has one row per event."""
        size = len(events)
        user = sessions.user[events.session]
        head = np.empty((size, len(_HEAD)), dtype=np.uint8)
        head[:] = np.frombuffer(_HEAD, dtype=np.uint8)
        head[:, _EVENT_ID_AT : _EVENT_ID_AT + 36] = format_uuids(event_ids)
        head[:, _EVENT_TIME_AT : _EVENT_TIME_AT + 24] = format_times(events.time_ms)
        head[:, _SESSION_ID_AT : _SESSION_ID_AT + 36] = format_uuids(sessions.session_id[events.session])
        head[:, _USER_ID_AT : _USER_ID_AT + USER_ID_DIGITS] = self._user_digits[user]
        offsets = np.arange(0, (size + 1) * len(_HEAD), len(_HEAD), dtype=np.int32)
        heads = pa.Array.from_buffers(pa.binary(), size, [None, pa.py_buffer(offsets), pa.py_buffer(head)])

        event_type = events.event_type.astype(np.int64)
        page = event_type * (self._categories + 1) + events.category + 1
        referrer = np.where(events.position == 0, sessions.referrer[events.session], 0)
        query = np.where(events.query < 0, 0, 1 + events.category.astype(np.int64) * self._queries_width + events.query)
        own_page = (event_type == VIEW) | (event_type == CART)
        product = np.where(
            events.product < 0, 0, 1 + events.product.astype(np.int64) + own_page * self._number_of_products
        )
        tail = sessions.device[events.session] * len(CITIES) + self._city[user]
        joined: Any = pc.binary_join_element_wise(
            heads,
            self._pages.take(pa.array(page)),
            self._referrers.take(pa.array(referrer)),
            self._queries.take(pa.array(query)),
            self._products.take(pa.array(product)),
            self._quantities.take(pa.array(events.quantity.astype(np.int64) + 1)),
            self._tails.take(pa.array(tail)),
            pa.scalar(b"", pa.binary()),
        )
        return _to_bytes(joined)


def _page(event_type: int, place: int, shop: str, listing_urls: list[str]) -> dict[str, str]:
    """Section and address of the page of an event; a product's own address comes with the product."""
    listing = (
        {"page_url": f"{shop}/", "page_section": "home"}
        if place < 0
        else {"page_url": listing_urls[place], "page_section": "category"}
    )
    product = {"page_section": "product"}
    cart = {"page_url": f"{shop}/cart", "page_section": "cart"}
    checkout = {"page_url": f"{shop}/checkout", "page_section": "checkout"}
    return {
        PAGE_VIEW: listing,
        SEARCH: {"page_url": f"{shop}/search", "page_section": "search"},
        CLICK: listing,
        VIEW: product,
        CART: product,
        REMOVE_FROM_CART: cart,
        CHECKOUT: checkout,
        PURCHASE: checkout,
    }[event_type]


def _fragments(objects: Any, closing: str = "") -> Any:
    """Each object as `,"key":value,...` without the braces, so that fragments concatenate to one object."""
    texts = []
    for content in objects:
        inner = json.dumps(content, separators=(",", ":"), ensure_ascii=False)[1:-1]
        texts.append(((f",{inner}" if inner else "") + closing).encode())
    return pa.array(texts, pa.binary())


def _to_bytes(values: Any) -> list[bytes]:
    _, offsets_buffer, data_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32, count=len(values) + 1).tolist()
    data = data_buffer.to_pybytes()
    return [data[start:end] for start, end in pairwise(offsets)]
