"""What the server knows: records, reports, accounts and the audit, in SQLite or PostgreSQL."""
