//! The help text of `turnadmin`.

pub(crate) const USAGE: &str = "\
turnadmin - look after the users, secrets, realms and keys in a database

USAGE
    turnadmin COMMAND [DATABASE] [flags]

USERS
    -a, --add                    add a long-term user, or give him a new password      -u -r -p
    -d, --delete                 delete a long-term user                               -u -r
    -l, --list                   list the users                                        [-r]
    -k, --key                    print the key of a user; needs no database            -u -r -p

SECRETS OF THE REST API
    -s, --set-secret SECRET      add a secret; a realm may have several                -r
    -S, --show-secret            list the secrets                                      [-r]
    -X, --delete-secret SECRET   delete a secret                                       -r
    --delete-all-secrets         delete all secrets of a realm                         -r
    --rotate-secret[=SECRET]     add a secret (one of 256 random bits if none is named) and print it     -r
        --overlap SECONDS        wait so long, then delete the others
    --keep-secret SECRET         delete all secrets of a realm but this one            -r

REALMS
    -O, --add-origin             say which realm an ORIGIN belongs to                  -o -r
    -R, --del-origin             forget it                                             -o
    -I, --list-origins           list them                                             [-r]
    -g, --set-realm-option       set limits of a realm; 0 removes one                  -r and of the next three
        --max-bps BYTES          bytes a second of one allocation
        --total-quota N          allocations of the realm
        --user-quota N           allocations of each user
    -G, --list-realm-options     list the limits                                       [-r]

ACCESS TOKENS
    --add-oauth-key KID          add the key that tokens with this key id are sealed with, or replace it  [-r]
        --oauth-key BASE64       the key; without it one is made and printed
        --oauth-algorithm A      A256GCM (default) or A128GCM
        --oauth-timestamp S      from which second since 1970 on it is good (default: always)
        --oauth-lifetime S       for how many seconds from then (default: for ever)
    --delete-oauth-key KID       delete it
    --list-oauth-keys            list them, without the keys

CONSOLE
    -A, --add-admin              add somebody who may log in, to one realm or (no -r) to all  -u -p [-r]
        --coturn-password        store the password in the form that coturn's web page can read too
    -D, --delete-admin           delete him                                            -u
    -L, --list-admin             list them
    -P, --generate-encrypted-password
                                 print a one-way form of a password, as cli-password takes it  -p

MANY ROWS
    --export FILE                write rows to a file (`-`: standard output)           [-r] [--kind]
    --import FILE                read rows from a file (`-`: standard input); rows that are there are replaced
        --format csv|jsonl       (default: as the file is called, else jsonl)
        --kind KIND              user, secret, allowed-peer, denied-peer, origin, realm-option, oauth-key or
                                 admin-user (default: jsonl: all; csv: user)

PASSWORDS OF MYSQL CONNECTIONS
    -E, --generate-encrypted-password-aes
                                 encrypt a password                                    -f -p
    -v, --verify BASE64          decrypt it                                            -f
    -x, --key-path FILE          make a new key file
    -f, --file-key-path FILE     the key file: 16 bytes; with -M it decrypts the password of the connection

WHO
    -u, --user NAME
    -r, --realm REALM
    -p, --password PASSWORD      `-` reads a line of standard input; without -p a terminal is asked, unseen
    -o, --origin ORIGIN
    A secret given as `-` is read from standard input too.

DATABASE
    -b, --userdb, --db FILE      SQLite
    -e, --psql-userdb, --sql-userdb CONNECTION
                                 PostgreSQL
    -M, --mysql-userdb CONNECTION
                                 MySQL, MariaDB
    -J, --mongo-userdb URI       MongoDB
    -N, --redis-userdb CONNECTION
                                 Redis

OUTPUT
    --json                       lists in JSON
    --version                    print the version
    -h, --help                   this text

EXIT STATUS
    0 when it is done; deleting what is not there is no failure. 1 when the database, a file or a row refused; 255 for a
    command line that cannot be understood, or names no database where one is needed.
";
