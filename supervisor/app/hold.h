#ifndef APP_HOLD_H
#define APP_HOLD_H

/* Holding all work while a backup is put in place of the embedded database: `database.hold`
 * (cmd_database_hold in hold.c), for as long as its client stays connected. Whatever becomes of the client,
 * work goes on afterwards, on whichever database there is then. */

struct hold;

/* Safe on NULL; work does not go on. */
void hold_free(struct hold **hold);

#endif
