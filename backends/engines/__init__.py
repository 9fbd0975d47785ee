"""The engines: memory, SQLite, and MySQL with MariaDB and Galera."""
