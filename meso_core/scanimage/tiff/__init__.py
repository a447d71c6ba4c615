"""The format of ScanImage's BigTIFF files: page directories, pages, headers."""
