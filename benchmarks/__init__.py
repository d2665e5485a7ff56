"""How long things take: run alone on an idle machine (``make bench``), never by the tests."""
