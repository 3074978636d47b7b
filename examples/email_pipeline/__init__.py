"""A pipeline that sends mail and enriches prospects, on SQLite or PostgreSQL, while its worker is killed.

Read `pipeline.py` first: it is the application. `store.py` holds its tables, `mail.py` and `web.py` are its clients.
`world/` plays the mail and web servers, `director.py` makes trouble, and `report.py` checks what was promised.
"""
