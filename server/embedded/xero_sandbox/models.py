"""Request bodies as Xero takes them, each field named: a name that Xero does not have is refused, though Xero itself
would pass over it, because it is a slip of the client's.

What Xero computes (SubTotal, Total, HasErrors …) may be sent and is passed over, as there. Sizes and vocabularies are
those of Xero's OpenAPI file; a test holds the two together.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


_MOST = 10**12  # products of two such numbers still have all their cents


def _number(value: object) -> object:
    """JSON numbers and nothing that looks like one: no strings, no booleans."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004  # pydantic reports a ValueError
    number = Decimal(value)
    if abs(number) >= _MOST:
        raise ValueError("must be less than a million millions")
    return number


Number = Annotated[Decimal, BeforeValidator(_number)]
Identifier = Annotated[str, StringConstraints(pattern=_UUID)]
Text = Annotated[str, StringConstraints(max_length=4_000)]
Upto10 = Annotated[str, StringConstraints(max_length=10)]
Upto20 = Annotated[str, StringConstraints(max_length=20)]
Upto30 = Annotated[str, StringConstraints(max_length=30)]
Upto50 = Annotated[str, StringConstraints(max_length=50)]
Upto255 = Annotated[str, StringConstraints(max_length=255)]
Upto500 = Annotated[str, StringConstraints(max_length=500)]
StatusName = Literal["DRAFT", "SUBMITTED", "DELETED", "AUTHORISED", "PAID", "VOIDED"]
AmountTypes = Literal["Exclusive", "Inclusive", "NoTax"]
InvoiceType = Literal[
    "ACCPAY", "ACCPAYCREDIT", "APOVERPAYMENT", "APPREPAYMENT", "ACCREC", "ACCRECCREDIT", "AROVERPAYMENT", "ARPREPAYMENT"
]  # fmt: skip


class Strict(BaseModel):
    """No conversions, no unknown names, no null."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, sent: object) -> object:
        """None in these models means that a field was left out; a null in the body is a slip."""
        if isinstance(sent, dict) and None in sent.values():
            raise ValueError("null is no value of any field")
        return sent

    def sent(self) -> dict[str, Any]:
        """Only what the client sent, in Xero's names."""
        return self.model_dump(exclude_unset=True)


class PassedOver(Strict):
    """Fields that Xero fills by itself: taken and not looked at beyond their type."""

    UpdatedDateUTC: str | None = None
    UpdatedDateUTCString: str | None = None
    HasAttachments: bool | None = None
    HasErrors: bool | None = None
    HasValidationErrors: bool | None = None
    StatusAttributeString: str | None = None
    ValidationErrors: list[dict[str, Any]] | None = None
    Warnings: list[dict[str, Any]] | None = None


class PhoneIn(Strict):
    PhoneType: Literal["DEFAULT", "DDI", "MOBILE", "FAX", "OFFICE"] | None = None
    PhoneNumber: Upto50 | None = None
    PhoneAreaCode: Upto10 | None = None
    PhoneCountryCode: Upto20 | None = None


class AddressIn(Strict):
    AddressType: Literal["POBOX", "STREET"] | None = None
    AddressLine1: Upto500 | None = None
    AddressLine2: Upto500 | None = None
    AddressLine3: Upto500 | None = None
    AddressLine4: Upto500 | None = None
    City: Upto255 | None = None
    Region: Upto255 | None = None
    PostalCode: Upto50 | None = None
    Country: Upto50 | None = None
    AttentionTo: Upto255 | None = None


class ContactIn(PassedOver):
    ContactID: Identifier | None = None
    ContactNumber: Upto50 | None = None
    AccountNumber: Upto50 | None = None
    ContactStatus: Literal["ACTIVE", "ARCHIVED", "GDPRREQUEST"] | None = None
    Name: Upto255 | None = None
    FirstName: Upto255 | None = None
    LastName: Upto255 | None = None
    EmailAddress: Upto255 | None = None
    TaxNumber: Upto50 | None = None
    DefaultCurrency: str | None = None
    Phones: list[PhoneIn] | None = None
    Addresses: list[AddressIn] | None = None
    IsSupplier: bool | None = None
    IsCustomer: bool | None = None


class LineIn(Strict):
    LineItemID: Identifier | None = None
    Description: Text | None = None
    Quantity: Number | None = None
    UnitAmount: Number | None = None
    ItemCode: Upto30 | None = None
    AccountCode: str | None = None
    AccountID: Identifier | None = None
    TaxType: str | None = None
    TaxAmount: Number | None = None
    LineAmount: Number | None = None
    DiscountRate: Annotated[Number, Field(ge=0, le=100)] | None = None
    Tracking: list[dict[str, Any]] | None = None


class Priced(PassedOver):
    """What invoices and credit notes share."""

    Contact: ContactIn | None = None
    LineItems: list[LineIn] | None = None
    Date: str | None = None
    DueDate: str | None = None
    LineAmountTypes: AmountTypes | None = None
    Reference: Upto255 | None = None
    CurrencyCode: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    CurrencyRate: Number | None = None
    Status: StatusName | None = None
    SentToContact: bool | None = None
    BrandingThemeID: Identifier | None = None
    SubTotal: Number | None = None
    TotalTax: Number | None = None
    Total: Number | None = None


class InvoiceIn(Priced):
    Type: InvoiceType | None = None
    InvoiceID: Identifier | None = None
    InvoiceNumber: Upto255 | None = None
    Url: str | None = None
    ExpectedPaymentDate: str | None = None
    IsDiscounted: bool | None = None
    AmountDue: Number | None = None
    AmountPaid: Number | None = None
    AmountCredited: Number | None = None
    TotalDiscount: Number | None = None


class CreditNoteIn(Priced):
    Type: Literal["ACCPAYCREDIT", "ACCRECCREDIT"] | None = None
    CreditNoteID: Identifier | None = None
    CreditNoteNumber: Upto255 | None = None
    RemainingCredit: Number | None = None


class AllocationIn(Strict):
    Invoice: InvoiceIn
    Amount: Number
    Date: str
    AllocationID: Identifier | None = None
    IsDeleted: bool | None = None
    StatusAttributeString: str | None = None
    ValidationErrors: list[dict[str, Any]] | None = None


class AccountIn(PassedOver):
    AccountID: Identifier | None = None
    Code: str | None = None


class PaymentIn(PassedOver):
    Invoice: InvoiceIn | None = None
    InvoiceNumber: str | None = None
    Account: AccountIn | None = None
    Code: str | None = None
    Date: str | None = None
    Amount: Number | None = None
    Reference: str | None = None
    CurrencyRate: Number | None = None
    IsReconciled: bool | None = None
    PaymentID: Identifier | None = None
    Status: Literal["AUTHORISED", "DELETED"] | None = None
    HasAccount: bool | None = None


class PriceIn(Strict):
    UnitPrice: Number | None = None
    AccountCode: str | None = None
    COGSAccountCode: str | None = None
    TaxType: str | None = None


class ItemIn(PassedOver):
    Code: Upto30
    Name: Upto50 | None = None
    Description: Text | None = None
    PurchaseDescription: Text | None = None
    ItemID: Identifier | None = None
    IsSold: bool | None = None
    IsPurchased: bool | None = None
    IsTrackedAsInventory: bool | None = None
    SalesDetails: PriceIn | None = None
    PurchaseDetails: PriceIn | None = None


class HistoryIn(Strict):
    Details: Annotated[str, StringConstraints(min_length=1, max_length=2_500)]
    Changes: str | None = None
    User: str | None = None
    DateUTC: str | None = None


class Contacts(Strict):
    Contacts: list[ContactIn] = Field(min_length=1)


class Items(Strict):
    Items: list[ItemIn] = Field(min_length=1)


class Invoices(Strict):
    Invoices: list[InvoiceIn] = Field(min_length=1)


class CreditNotes(Strict):
    CreditNotes: list[CreditNoteIn] = Field(min_length=1)


class Allocations(Strict):
    Allocations: list[AllocationIn] = Field(min_length=1)


class Payments(Strict):
    Payments: list[PaymentIn] = Field(min_length=1)


class HistoryRecords(Strict):
    HistoryRecords: list[HistoryIn] = Field(min_length=1)
