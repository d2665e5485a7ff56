"""From "it differs" to the line to mend: which segment or sub-step is wrong, and what undoes it.

A cause is named only if a rule that has exactly this fault reproduces the port's own output, so
that undoing it drops the residual to the bound or by a factor of 1e6. What nothing reproduces is
said to be unexplained, with the evidence.
"""
