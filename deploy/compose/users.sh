# The databases of profiles and ledger, and their users: one for the service, one for the schema. MariaDB's image runs it once, and brings
# docker_process_sql.
docker_process_sql <<SQL
CREATE DATABASE persona;
CREATE DATABASE persona_ledger;
CREATE USER persona@'%' IDENTIFIED BY '$(cat /run/secrets/service)';
CREATE USER persona_admin@'%' IDENTIFIED BY '$(cat /run/secrets/admin)';
GRANT SELECT, INSERT, UPDATE, DELETE ON persona.* TO persona@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON persona_ledger.* TO persona@'%';
GRANT ALL ON persona.* TO persona_admin@'%';
GRANT ALL ON persona_ledger.* TO persona_admin@'%';
SQL
