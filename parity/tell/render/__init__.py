"""Reports for people: rendering only, nothing is decided here."""
