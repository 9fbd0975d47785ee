# The database and its users: one for the service, one for the schema. MariaDB's image runs it once, and brings
# docker_process_sql.
docker_process_sql <<SQL
CREATE DATABASE persona;
CREATE USER persona@'%' IDENTIFIED BY '$(cat /run/secrets/service)';
CREATE USER persona_admin@'%' IDENTIFIED BY '$(cat /run/secrets/admin)';
GRANT SELECT, INSERT, UPDATE, DELETE ON persona.* TO persona@'%';
GRANT ALL ON persona.* TO persona_admin@'%';
SQL
