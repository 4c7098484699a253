"""A price list is read strictly: every bad cell is named with its line, and stops no other row."""

from decimal import Decimal
from importlib import resources

import pytest

from server.order.catalogue_csv import CatalogueFileError, read_catalogue
from server.order.money import Money

HEADER = "sku,name,aliases,name_zh,name_ms,unit,pack_size,price,currency,tax_code,min_quantity,stock,category\n"
GOOD = "PB-12,Pizza box,12 inch box; big box ,披萨盒,Kotak piza,piece,100,0.58,SGD,SR,100,950,boxes\n"


def errors_of(rows: str) -> list[tuple[int, str]]:
    return [(error.line, error.message) for error in read_catalogue((HEADER + rows).encode())[1]]


def test_every_column_is_read() -> None:
    rows, errors = read_catalogue((HEADER + GOOD).encode())
    product = rows[0].product
    assert not errors
    assert rows[0].line == 2
    assert product.price == Money("SGD", Decimal("0.58"))
    assert product.aliases == ("12 inch box", "big box")
    assert (product.name_zh, product.name_ms) == ("披萨盒", "Kotak piza")
    assert (product.pack_size, product.min_quantity, product.stock) == (100, Decimal(100), Decimal(950))


def test_columns_may_come_in_any_order_with_a_bom_and_crlf_and_without_the_optional_ones() -> None:
    data = "\ufeffname,SKU,unit,currency,price,pack_size,tax_code\r\nBox,B-1,pack,SGD,1.20,10,SR\r\n"
    rows, errors = read_catalogue(data.encode())
    assert not errors
    assert (rows[0].product.sku, rows[0].product.min_quantity, rows[0].product.stock) == ("B-1", Decimal(1), None)


def test_quoted_cells_keep_commas_quotes_and_lines_and_errors_name_the_first_line_of_a_row() -> None:
    quoted = 'PB-1,"Box, 12"" plain\nkraft",,,,piece,1,1.00,SGD,SR,1,1,c\n'
    rows, errors = read_catalogue((HEADER + quoted + GOOD.replace("0.58", "x")).encode())
    assert rows[0].product.name == 'Box, 12" plain\nkraft'
    assert [error.line for error in errors] == [4]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.58", "0", "price: must be above zero"),
        ("0.58", "0.000", "price: must be above zero"),
        ("0.58", "-0.58", "price: must be above zero"),
        ("0.58", "", "price: missing"),
        ("0.58", "0;58", "price: not a plain decimal number: '0;58'"),
        ("0.58", "$0.58", "price: not a plain decimal number: '$0.58'"),
        ("0.58", "5.8e-1", "price: not a plain decimal number: '5.8e-1'"),
        ("SGD", "S$", "price: not a currency code: 'S$'"),
        (",100,0.58", ",0,0.58", "pack_size: a whole number from 1 to 1000000"),
        (",100,0.58", ",1.5,0.58", "pack_size: not a number of the allowed form: '1.5'"),
        (",950,", ",-5,", "stock: not a number of the allowed form: '-5'"),
        ("SR,100", "SR,0", "min_quantity: must be above zero"),
        ("Pizza box", "=HYPERLINK(1)", "name: begins like a spreadsheet formula ('=')"),
        ("12 inch box", "@SUM(A1)", "aliases: begins like a spreadsheet formula ('@')"),
        ("boxes", "+1", "category: begins like a spreadsheet formula ('+')"),
        ("Pizza box", "", "name: missing"),
        ("PB-12", "PB 12", "sku: letters, digits, '.', '_' and '-' only, at most 64, beginning with a letter or digit"),
        (",boxes", ",boxes,more", "the row has more or fewer cells than the header (an unquoted comma?)"),
    ],
)
def test_a_bad_cell_is_named(old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert errors_of(GOOD.replace(old, new, 1)) == [(2, message)]


def test_a_bad_row_stops_no_other_and_all_its_faults_are_told() -> None:
    bad = GOOD.replace("0.58", "0").replace("Pizza box", "=1")
    rows, errors = read_catalogue((HEADER + bad + "\n" + GOOD.replace("PB-12", "PB-14")).encode())
    assert [row.line for row in rows] == [4]
    assert errors[0].message == "name: begins like a spreadsheet formula ('='); price: must be above zero"


def test_a_sku_twice_is_refused_whatever_its_case() -> None:
    assert errors_of(GOOD + GOOD.replace("PB-12", "pb-12")) == [(3, "sku: the same as on line 2")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "missing columns: sku, name"),
        (b"sku,name,price\n", "missing columns: unit, pack_size, currency, tax_code"),
        (HEADER.replace("stock", "stok").encode(), "unknown columns: stok"),
        (HEADER.replace("stock", "price").encode(), "columns given twice: price"),
        (HEADER.replace(",", ";").encode(), "separated by semicolons"),
        (HEADER.encode() + "PB-1,Käse".encode("latin-1"), "not UTF-8"),
        (HEADER.encode() + b'PB-1,"never closed\n', "unexpected end of data"),
        (HEADER.encode("utf-16"), "not UTF-8"),
        (HEADER.encode() + b"PB\x001", "NUL"),
    ],
)
def test_a_file_that_is_no_price_list_is_refused_as_a_whole(data: bytes, message: str) -> None:
    with pytest.raises(CatalogueFileError, match=message):
        read_catalogue(data)


def test_the_demo_price_list_is_clean() -> None:
    rows, errors = read_catalogue(resources.files("server").joinpath("demo_data/products.csv").read_bytes())
    assert not errors
    assert len(rows) >= 60
