"""Language models that answer questions: the client of endpoints and local models, with ledger, budget and retries."""
