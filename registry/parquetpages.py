"""How large the pages of a Parquet file become, read from their headers before anything is unpacked.

A page states its size, and a reader makes room for it: a file of 100 kB may hold a page of 2 GB. The footer's own
figures are no help, since whoever writes such a file writes them too. Page headers are Thrift structs in the compact
protocol, of which only the three first fields matter: type, size unpacked, size as it stands.
"""

from typing import IO, Any

from registry.unpacking import Oversized

MAX_PAGES = 200_000
_HEADER_BYTES = 2**16  # of one page's header, statistics included


def check_pages(content: IO[bytes], most_bytes: int) -> None:
    """Walk all pages. Raises `Oversized`."""
    import pyarrow.parquet as pq

    content.seek(0)
    metadata = pq.ParquetFile(content, pre_buffer=False).metadata
    pages = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            pages += _walk(content, group.column(place), most_bytes)
            if pages > MAX_PAGES:
                raise Oversized(f"more than {MAX_PAGES:,} pages")


def _walk(content: IO[bytes], column: Any, most_bytes: int) -> int:
    starts = [offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset]
    position, pages = min(starts, default=0), 0
    end = position + column.total_compressed_size
    while position < end:
        content.seek(position)
        header = _Compact(content.read(_HEADER_BYTES))
        found = header.struct(top=True)
        size, stored = found.get(2), found.get(3)
        if size is None or stored is None or size < 0 or stored < 0:
            raise Oversized("a page without a size")
        if size > most_bytes:
            raise Oversized(f"a page of {size:,} bytes; at most {most_bytes:,} are read")
        position += header.place + stored  # which is forward, whatever they are
        pages += 1
        if pages > MAX_PAGES:
            break
    return pages


class _Compact:
    """Just enough of Thrift's compact protocol to step over one struct."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self.place, self._depth = raw, 0, 0

    def struct(self, *, top: bool = False) -> dict[int, int]:
        """Step over a struct; its whole-number fields where it is the outermost. Raises `Oversized`."""
        self._depth += 1
        if self._depth > 16:
            raise Oversized("a page header nested too deeply")
        values: dict[int, int] = {}
        field = 0
        while (head := self._byte()) != 0:
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 0x0F
            value = self._skip(kind)
            if top and value is not None:
                values[field] = value
        self._depth -= 1
        return values

    def _skip(self, kind: int, *, element: bool = False) -> int | None:
        if kind in (1, 2):  # a boolean is its own kind, but for one in a list
            self.place += element
        elif kind == 3:
            self._byte()
        elif kind in (4, 5, 6):
            return self._zigzag()
        elif kind == 7:
            self.place += 8
        elif kind == 8:
            length = self._varint()
            self.place += length
        elif kind in (9, 10):
            self._list()
        elif kind == 12:
            self.struct()
        else:
            raise Oversized("a page header that cannot be read")
        return None

    def _list(self) -> None:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        if count > len(self._raw):
            raise Oversized("a page header that cannot be read")
        for _ in range(count):
            self._skip(head & 0x0F, element=True)

    def _byte(self) -> int:
        if self.place >= len(self._raw):
            raise Oversized("a page header that does not end")
        self.place += 1
        return self._raw[self.place - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise Oversized("a page header that cannot be read")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
