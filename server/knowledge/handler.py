"""KnowledgeService on the wire: decode, one call, encode."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

from server.audit.actor import Shown
from server.audit.changes import Author
from server.caller import current_caller, current_request
from server.idempotency import Idempotency
from server.knowledge.passages import Passage
from server.knowledge.search import KnowledgeSearch
from server.knowledge.service import Imported, KnowledgeService
from server.knowledge.store import DocumentRow
from server.paging import PageTokens, page_size
from server.replays import tell_replayed
from tria.knowledge.v1 import knowledge_pb2, knowledge_service_pb2, knowledge_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_STATES = {
    "INDEXING": knowledge_pb2.Document.INDEXING,
    "INDEXED": knowledge_pb2.Document.INDEXED,
    "INDEX_FAILED": knowledge_pb2.Document.INDEX_FAILED,
}


class KnowledgeHandler(knowledge_service_pb2_grpc.KnowledgeServiceServicer):
    """The documents behind the answers."""

    def __init__(self, service: KnowledgeService, search: KnowledgeSearch, tokens: PageTokens, shown: Shown) -> None:
        self._service = service
        self._search = search
        self._tokens = tokens
        self._shown = shown

    def _author(self) -> Author:
        return Author(current_caller.get(), current_request.get(), self._shown)

    async def ImportDocument(
        self, request: knowledge_service_pb2.ImportDocumentRequest, context: Context
    ) -> knowledge_service_pb2.ImportDocumentResponse:
        """The document as imported; the same request_id again gives the first answer."""
        body = request.filename.encode() + b"\0" + request.title.encode() + b"\0" + request.content
        imported = await self._service.import_once(
            self._author(),
            request.filename,
            request.content,
            title=request.title,
            idempotency=Idempotency("ImportDocument", request.request_id, body, _imported_bytes),
        )
        if imported.replayed:
            await tell_replayed(context)
        return knowledge_service_pb2.ImportDocumentResponse.FromString(imported.answer)

    async def GetDocument(
        self, request: knowledge_service_pb2.GetDocumentRequest, _context: Context
    ) -> knowledge_pb2.Document:
        """One document."""
        return _encode(await self._service.get_document(current_caller.get().tenant, request.name))

    async def ListDocuments(
        self, request: knowledge_service_pb2.ListDocumentsRequest, _context: Context
    ) -> knowledge_service_pb2.ListDocumentsResponse:
        """Documents by name, a page at a time."""
        tenant = current_caller.get().tenant
        query = f"ListDocuments\n{tenant}"
        wanted = self._tokens.read(query, request.page_token, page_size(request.page_size))
        after = wanted.after[0] if wanted.after else ""
        page = await self._service.list_documents(tenant, size=wanted.size, after=after)
        return knowledge_service_pb2.ListDocumentsResponse(
            documents=map(_encode, page.documents),
            next_page_token=self._tokens.make(query, (page.last,)) if page.last else "",
            revision=page.revision,
        )

    async def DeleteDocument(
        self, request: knowledge_service_pb2.DeleteDocumentRequest, _context: Context
    ) -> knowledge_service_pb2.DeleteDocumentResponse:
        """The document, its passages and, by a job, its vectors."""
        await self._service.delete_document(self._author(), request.name)
        return knowledge_service_pb2.DeleteDocumentResponse()

    async def SearchKnowledge(
        self, request: knowledge_service_pb2.SearchKnowledgeRequest, _context: Context
    ) -> knowledge_service_pb2.SearchKnowledgeResponse:
        """Passages, best first."""
        size = page_size(request.page_size, default=5, largest=20)
        result = await self._search.search(current_caller.get().tenant, request.query, size, request.language)
        return knowledge_service_pb2.SearchKnowledgeResponse(
            passages=map(_encode_passage, result.passages), confident=result.confident, degraded=result.degraded
        )


def _encode(row: DocumentRow) -> knowledge_pb2.Document:
    document = knowledge_pb2.Document(
        name=row.name,
        title=row.title,
        language=row.language,
        revision=row.revision,
        state=_STATES[row.state],
        chunk_count=row.chunk_count,
        size_bytes=row.size_bytes,
        media_type=row.media_type,
    )
    document.update_time.FromDatetime(row.imported_at)
    return document


def _encode_passage(passage: Passage) -> knowledge_pb2.Passage:
    return knowledge_pb2.Passage(
        chunk=passage.chunk,
        document=passage.document,
        revision=passage.revision,
        title=passage.title,
        heading=passage.heading,
        text=passage.text,
        language=passage.language,
        score=passage.score,
    )


def _imported_bytes(imported: Imported) -> bytes:
    response = knowledge_service_pb2.ImportDocumentResponse(
        document=_encode(imported.document), unchanged=imported.unchanged
    )
    return response.SerializeToString()
