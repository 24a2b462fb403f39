"""The dialects of backends as sans-IO codecs: bytes in, events out, no socket and no clock."""
