"""Does the harness itself hold?"""
