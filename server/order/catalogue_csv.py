"""Reading a price list: strict, because a cell read wrongly becomes a wrong invoice. Needs no server.

A file whose columns are wrong is refused as a whole; a bad row is reported with its line and stops none of the others.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from server.order.money import Money, MoneyError
from server.order.product import CatalogueProduct, RowError, faults

REQUIRED = ("sku", "name", "unit", "pack_size", "price", "currency", "tax_code")
OPTIONAL = ("aliases", "name_zh", "name_ms", "min_quantity", "stock", "category")
_LARGEST_FILE = 20 * 1024 * 1024
_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)


class CatalogueFileError(ValueError):
    """The file cannot be read as a price list at all; the message says why, for the person who made it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A good row and the line of the file on which it begins."""

    line: int
    product: CatalogueProduct


def read_catalogue(data: bytes) -> tuple[list[Row], list[RowError]]:
    """The good rows and the bad ones of a CSV file (UTF-8 with or without BOM, comma, RFC 4180 quotes, header first).

    Raises CatalogueFileError when it is no such file.
    """
    if len(data) > _LARGEST_FILE:
        raise CatalogueFileError(f"the file is larger than {_LARGEST_FILE // 1024 // 1024} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise CatalogueFileError(f"the file is not UTF-8 (byte {cause.start}); save it as CSV UTF-8") from cause
    if "\x00" in text:
        raise CatalogueFileError("the file has NUL characters; it is no CSV")
    rows: list[Row] = []
    errors: list[RowError] = []
    first_seen: dict[str, int] = {}
    for line, cells in _records(text):
        result = _row(line, cells, first_seen)
        if isinstance(result, Row):
            rows.append(result)
        else:
            errors.append(result)
    return rows, errors


def _records(text: str) -> Iterator[tuple[int, dict[str, str] | None]]:
    """(line, cells by column) per row; None for a row with the wrong number of cells. Blank lines are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = _header(next(reader, []))
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                fits = len(cells) == len(header)
                yield line, dict(zip(header, (cell.strip() for cell in cells), strict=True)) if fits else None
            line = reader.line_num + 1
    except csv.Error as cause:
        raise CatalogueFileError(f"line {reader.line_num}: {cause}") from cause


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in cells]
    if len(header) == 1 and header[0].count(";") >= len(REQUIRED) - 1:
        raise CatalogueFileError("the columns are separated by semicolons; save the file with commas")
    problems = []
    if missing := [name for name in REQUIRED if name not in header]:
        problems.append(f"missing columns: {', '.join(missing)}")
    if unknown := [name or "(empty)" for name in header if name not in REQUIRED + OPTIONAL]:
        problems.append(f"unknown columns: {', '.join(unknown)}")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        problems.append(f"columns given twice: {', '.join(twice)}")
    if problems:
        raise CatalogueFileError("; ".join(problems))
    return header


def _row(line: int, cells: Mapping[str, str] | None, first_seen: dict[str, int]) -> Row | RowError:
    if cells is None:
        return RowError(line, "", "the row has more or fewer cells than the header (an unquoted comma?)")
    sku = cells["sku"]
    # Case is no difference between two products: people type SKUs as they like.
    earlier = first_seen.setdefault(sku.casefold(), line) if sku else line
    if earlier != line:
        return RowError(line, sku[:64], f"sku: the same as on line {earlier}")
    found: list[str] = []
    product = _product(cells, found)
    if product is not None:
        found += faults(product)
    if product is None or found:
        return RowError(line, sku[:64], "; ".join(found))
    return Row(line, product)


def _product(cells: Mapping[str, str], found: list[str]) -> CatalogueProduct | None:
    """The product of these cells, or None after noting in `found` which cells are no numbers."""
    price = _price(cells, found)
    pack_size = _number("pack_size", cells["pack_size"], _WHOLE, found)
    least = _number("min_quantity", cells.get("min_quantity") or "1", _QUANTITY, found)
    stock = _number("stock", cells["stock"], _QUANTITY, found) if cells.get("stock") else None
    if price is None or pack_size is None or least is None or found:
        return None
    return CatalogueProduct(
        sku=cells["sku"],
        name=cells["name"],
        unit=cells["unit"].lower(),
        pack_size=int(pack_size),
        price=price,
        tax_code=cells["tax_code"],
        name_zh=cells.get("name_zh", ""),
        name_ms=cells.get("name_ms", ""),
        aliases=tuple(alias for alias in map(str.strip, cells.get("aliases", "").split(";")) if alias),
        min_quantity=least,
        stock=stock,
        category=cells.get("category", ""),
    )


def _price(cells: Mapping[str, str], found: list[str]) -> Money | None:
    try:
        return Money.parse(cells["currency"].upper(), cells["price"])
    except MoneyError as error:
        found.append(f"price: {error}" if cells["price"] else "price: missing")
        return None


def _number(field: str, text: str, form: re.Pattern[str], found: list[str]) -> Decimal | None:
    if form.fullmatch(text):
        return Decimal(text)
    found.append(f"{field}: not a number of the allowed form: {text[:32]!r}" if text else f"{field}: missing")
    return None
