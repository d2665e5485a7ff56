"""Wrong ports on purpose: proof that the harness sees every fault it claims to, and names it."""
