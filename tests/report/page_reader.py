"""Reads a page of HTML: what is not closed, where links lead, and the words on it."""

import re
from html.parser import HTMLParser

#: Elements that are never closed.
VOID = {"meta", "link", "img", "input", "br", "path"}


class Reader(HTMLParser):
    """Reads a page: tags that are not closed, pictures without a text, ids, links, addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.pictures, self.addresses = [], [], set(), [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.note(tag, given)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, dict(attrs))

    def note(self, tag, given):
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.add(given["href"])
        if tag == "img" or given.get("role") == "img":
            self.pictures.append(given.get("alt") or given.get("aria-label"))
        self.addresses |= {given[name] for name in ("src", "href", "action", "xlink:href") if name in given}

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def text_of(page):
    body = re.sub(r"<(script|style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))
