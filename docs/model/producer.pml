/* publish.rs. */
#undef FORGET
#define FORGET \
    me = NOBODY; started = false; s = 0; f = 0; i = 0; g = 0; v = 0; r = 0; w = 0; before = 0; c = 0; ret = 0; \
    next = 0; limit = 0; k = 0; \
    do :: k < GROUPS -> floors[k] = 0; k++ :: else -> break od; \
    k = 0

proctype Producer(byte p) {
#include "locals.pml"
    byte next, limit, left = MSGS;
    byte floors[GROUPS]; /* as far as this producer has found them */

    goto idle;
#include "sweep.pml"

/* Ring::publisher. */
start:
    if
    DIES
    :: d_step { true -> next = tail; started = true } goto idle
    fi;

idle:
    if
    :: d_step { left > 0 && next >= limit -> s = next; f = 255 } goto refresh
    :: d_step { left > 0 && next < limit -> s = next } goto reserve
    :: d_step { left == 0 } goto leave
    fi;

/* refresh_limit: for each group the floor (find_floor: floor::floor) ... */
refresh:
    if
    DIES
#ifdef MUTANT_NO_FLOORS
    :: d_step { true -> limit = s + CAP; next = s; f = 0; g = 0 } goto reserve
#else
    :: d_step { g < SHARED -> i = (floor_[g] > floors[g] -> floor_[g] : floors[g]) } goto find
    :: d_step { g >= SHARED && g < GROUPS -> f = (floor_[g] < f -> floor_[g] : f); g++ } goto refresh
    :: d_step { g == GROUPS && s < f + CAP -> limit = f + CAP; next = s; f = 0; g = 0 } goto reserve
    :: d_step { g == GROUPS && s >= f + CAP -> limit = f + CAP; next = s; f = 0; g = 0; s = 0 } goto no_room
#endif
    fi;
/* ... and, in a shared one, what is settled above it (floor.rs: settled_until; is_settled: the claim word ... */
find:
    if
    DIES
    :: d_step { SETTLED_BY_CLAIM(g, i) -> i++ } goto find
    :: d_step { C_NEVER(claims[WORD(g, i)], i) } goto find_slot
    :: d_step {
        !SETTLED_BY_CLAIM(g, i) && !C_NEVER(claims[WORD(g, i)], i) ->
        floors[g] = i; f = (i < f -> i : f); i = 0; g++
    } goto refresh
    fi;
/* ... then the slot). */
find_slot:
    if
    DIES
    :: d_step { SETTLED_BY_SLOT(i) -> i++ } goto find
    :: d_step { !SETTLED_BY_SLOT(i) -> floors[g] = i; f = (i < f -> i : f); i = 0; g++ } goto refresh
    fi;

/* reserve: the reservation ... */
reserve:
    if
    DIES
    :: d_step { R_AHEAD(reservation[AT(s)], s) -> s = R_SEQ(reservation[AT(s)]) + 1 } goto reserve_next
    :: d_step { !R_AHEAD(reservation[AT(s)], s) -> r = reservation[AT(s)] } goto reserve_slot
    fi;
reserve_next:
    if
    :: d_step { s >= limit -> next = s; f = 255 } goto refresh
    :: d_step { s < limit } goto reserve
    fi;
/* ... the slot word ... */
reserve_slot:
    if
    DIES
    :: d_step { IS_PUB(slot[AT(s)], s) || IS_ABO(slot[AT(s)], s) -> r = 0; s++ } goto reserve_next
    :: d_step { IS_LAPPED(slot[AT(s)], s) -> r = 0; s = W_SEQ(slot[AT(s)]) + 1 } goto reserve_next
    :: d_step { IS_LAP_BEFORE(slot[AT(s)], s) -> before = slot[AT(s)] } goto reserve_take
    :: d_step { IS_EARLIER(slot[AT(s)], s) && !IS_LAP_BEFORE(slot[AT(s)], s) -> next = s; s = 0; r = 0 } goto no_room
    fi;
/* ... the CAS that takes and signs. */
reserve_take:
    if
    DIES
    :: d_step {
        reservation[AT(s)] == r ->
        /* I10, and the order: all below are taken, and nobody had this one. */
        assert(s == taken);
        CHECK_REUSE(s);
        taken++;
        writing = writing | BIT(s);
        reservation[AT(s)] = TAKEN(s, me);
        r = 0; next = s + 1
    } goto fill
    :: d_step { reservation[AT(s)] != r -> r = 0; before = 0 } goto reserve
    fi;

/* fill: I2, I3. */
fill:
    if
    DIES
    :: d_step {
        true ->
        assert(reservation[AT(s)] == TAKEN(s, me) && slot[AT(s)] == before);
        CHECK_UNSEEN(s);
        bytes[AT(s)] = s + 1
    } goto commit
    fi;

/* commit. Nobody takes us for dead, so it is never refused. */
commit:
    if
    DIES
    :: d_step {
        true ->
        assert(slot[AT(s)] == before);
        slot[AT(s)] = PUB(s);
        writing = writing & ~BIT(s);
        NOTE_PUBLISHED(s);
        left--;
        s = 0; before = 0
    } goto commit_hint
    fi;
/* raise_tail: now and then. */
commit_hint:
    if
    DIES
    :: d_step { true -> tail = (next > tail -> next : tail); assert(tail <= taken) } goto idle
#ifdef LAG
    :: d_step { true } goto idle
#endif
    fi;

/* sender.rs, wait.rs: no room: tries again. A lossy queue drops the oldest first. */
no_room:
    if
    DIES
#ifdef LOSSY
    :: d_step { next >= limit -> s = limit - CAP } goto drop
#endif
    :: d_step { true } goto idle
    fi;
#ifdef LOSSY
/* drop_oldest, drop_one, in each shared group at the lowest floor: the slot ... */
drop:
    if
    DIES
    :: d_step { g < SHARED && floors[g] == s && IS_PUB(slot[AT(s)], s) } goto drop_claim
    :: d_step { g < SHARED && !(floors[g] == s && IS_PUB(slot[AT(s)], s)) -> g++ } goto drop
    :: d_step { g == SHARED -> g = 0; s = 0 } goto idle
    fi;
/* ... the claim word ... */
drop_claim:
    if
    DIES
    :: d_step {
        C_NEVER(claims[WORD(g, s)], s) || C_IN(claims[WORD(g, s)], s, READY) || C_IN(claims[WORD(g, s)], s, DEAD) ->
        c = claims[WORD(g, s)]
    } goto drop_take
    :: d_step {
        !(C_NEVER(claims[WORD(g, s)], s) || C_IN(claims[WORD(g, s)], s, READY) || C_IN(claims[WORD(g, s)], s, DEAD)) -> g++
    } goto drop
    fi;
/* ... the CAS. */
drop_take:
    if
    DIES
    :: d_step {
        claims[WORD(g, s)] == c ->
        /* I3, I5: nobody works on it, and it was not settled. */
        assert(held[WORD(g, s)] == 0 && HOLDS(todo[g], s));
        claims[WORD(g, s)] = C_DONE(s);
        todo[g] = todo[g] & ~BIT(s); fresh[g] = fresh[g] & ~BIT(s); given[g] = given[g] & ~BIT(s);
        c = 0; g++
    } goto drop
    :: d_step { claims[WORD(g, s)] != c -> c = 0; g++ } goto drop
    fi;
#endif

/* join.rs: leave; then the lock. */
leave:
    if
    DIES
    :: d_step { true -> entry[me] = FREE } goto leave_unlock
    fi;
leave_unlock:
    if
    DIES
    :: d_step { true -> lock[me] = 0; FORGET } goto gone
    fi;
gone:
    done_producers++
}
