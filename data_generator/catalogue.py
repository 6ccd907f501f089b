"""What the shop sells: categories of products, each with a brand, a price and a popularity.

Products are numbered so that the products of one (category, price third) are neighbours: a *shelf*. Drawing a product
from a shelf is then one search in the cumulated popularity.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from data_generator.random_streams import random_stream

CATALOGUE_FILE = Path(__file__).with_name("catalogue.yaml")
PRICE_THIRDS = 3
ZIPF_EXPONENT = 0.9
FIRST_PRODUCT_ID = 1_000_000
# REES46's category ids are 19 digits long: past what a double holds exactly, which is why ids are strings.
FIRST_CATEGORY_ID = 2053013550000000000

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Category:
    """`price` is (lowest, highest) in the shop's currency; `popularity` a weight against the other categories."""

    code: str
    popularity: float
    products: int
    price: tuple[float, float]
    brands: tuple[str, ...]
    queries: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """Arrays have one entry per product, ordered by shelf; `prices` are in hundredths."""

    shop_url: str
    categories: tuple[Category, ...]
    category: IntArray
    brands: tuple[str, ...]
    prices: IntArray
    cumulated_popularity: FloatArray
    shelf_starts: IntArray

    def __len__(self) -> int:
        return len(self.category)

    @property
    def category_weights(self) -> FloatArray:
        """Popularity of the categories, summing to 1."""
        weights = np.array([category.popularity for category in self.categories], dtype=np.float64)
        weights /= weights.sum()
        return weights

    def draw_products(self, rng: np.random.Generator, category: IntArray, price_third: IntArray) -> IntArray:
        """One product for each (category, price third), popular ones more often."""
        shelf = category * PRICE_THIRDS + price_third
        edges = np.concatenate(([0.0], self.cumulated_popularity))
        low, high = edges[self.shelf_starts[shelf]], edges[self.shelf_starts[shelf + 1]]
        drawn = np.searchsorted(self.cumulated_popularity, low + rng.random(len(shelf)) * (high - low), side="right")
        # Rounding may put a draw on the shelf's upper edge.
        on_shelf: IntArray = np.minimum(drawn, self.shelf_starts[shelf + 1] - 1)
        return on_shelf


def load_catalogue(seed: int, file: Path = CATALOGUE_FILE) -> Catalogue:
    """Stock the shelves: prices, brands and popularity of the products depend on `seed` only."""
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    categories = tuple(
        Category(
            code=entry["code"],
            popularity=float(entry["popularity"]),
            products=int(entry["products"]),
            price=(float(entry["price"][0]), float(entry["price"][1])),
            brands=tuple(entry["brands"]),
            queries=tuple(entry["queries"]),
        )
        for entry in content["categories"]
    )
    category_of_product: list[IntArray] = []
    prices: list[IntArray] = []
    popularity: list[FloatArray] = []
    brands: list[str] = []
    shelf_sizes: list[int] = []
    for number, category in enumerate(categories):
        if category.products < PRICE_THIRDS:
            raise ValueError(f"{file}: {category.code}: needs at least {PRICE_THIRDS} products")
        rng = random_stream(seed, "catalogue", category.code)
        low, high = category.price
        cents = np.sort(np.round(np.exp(rng.uniform(np.log(low), np.log(high), category.products)) * 100))
        # Retail prices end in 9: 1284 -> 1289.
        prices.append((cents.astype(np.int64) // 10) * 10 + 9)
        rank = rng.permutation(category.products) + 1
        weight = rank**-ZIPF_EXPONENT
        popularity.append(category.popularity * weight / weight.sum())
        brands.extend(category.brands[i] for i in rng.integers(0, len(category.brands), category.products))
        category_of_product.append(np.full(category.products, number, dtype=np.int64))
        thirds = np.array_split(np.arange(category.products), PRICE_THIRDS)
        shelf_sizes.extend(len(third) for third in thirds)
    return Catalogue(
        shop_url=content["shop_url"],
        categories=categories,
        category=np.concatenate(category_of_product),
        brands=tuple(brands),
        prices=np.concatenate(prices),
        cumulated_popularity=np.cumsum(np.concatenate(popularity)),
        shelf_starts=np.concatenate(([0], np.cumsum(shelf_sizes))).astype(np.int64),
    )
