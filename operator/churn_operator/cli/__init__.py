"""`kubectl churn`: what a person wants to know of a model, and may say to it. Everything said is kept in the cluster.

`summary` says what is known of a model, `judgement`, `evidence` and `orders` what follows: pure, from the objects as
the API server has them. `report` accounts for it: `facts` tells, `chain` links, `checks` compares. `tree` draws,
`cluster` reads and writes, `commands` has the commands.
"""
