"""What parity means, as properties: these files are the claims, one subject each.

``parity check`` runs the same functions over the same strategies, pools their outcomes and prints a
table; here each property stands alone, is shrunk by Hypothesis when it fails, and can be read.
"""
