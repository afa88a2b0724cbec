// The indexes of a MongoDB user database: mongosh turn mongodb.js
// The server makes them by itself with its first write, where it may. Collections and fields are coturn's;
// turnpike_user_key is ours.

db.turnusers_lt.createIndex({ realm: 1, name: 1 }, { unique: true });
db.turnpike_user_key.createIndex({ realm: 1, name: 1 }, { unique: true });
db.turn_secret.createIndex({ realm: 1, value: 1 }, { unique: true });
db.realm.createIndex({ realm: 1 }, { unique: true });
db.oauth_key.createIndex({ kid: 1 }, { unique: true });
db.admin_user.createIndex({ name: 1 }, { unique: true });
