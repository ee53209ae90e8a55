/* Making a group against producers with an old limit, and taking one away (groups.rs, publish.rs: refresh_limit).
 *
 * Slots are only counted here: `taken` sequences are taken in order, as queue.pml shows. Group 0 is there from the
 * beginning; its floor goes on as it likes. Entry 1 is free, is made a group by a maker, and taken away again. The first
 * maker may die; a sweeper frees what it left.
 */
#ifndef CAP
#define CAP 2
#endif
#ifndef MSGS
#define MSGS 6
#endif
#ifndef PRODUCERS
#define PRODUCERS 1
#endif
#ifndef MAKERS
#define MAKERS 2
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef LATEST
#define LATEST true
#endif
#define FREE 0
#define JOINING 1
#define PINNED 2
#define LIVE 3
#define CLOSING 4
#define NOBODY 9

byte taken;            /* the reservations, all below are taken */
byte tail;             /* control::TAIL */
byte generation;       /* control::GENERATION: only whether it has moved matters */
byte floor0;           /* group 0, which a group that is made sees */
byte state1, owner1, floor1, incarnation1; /* entry 1 */
bool keeps0 = true;    /* group 0 gates */
byte member;           /* participant::MEMBER_OF, bit 1, of each member process */
byte deaths = DEATHS;
byte dead = NOBODY;    /* which maker is dead, its lock free */
bool admin;            /* the lock of whoever makes a group; it ends with its process */
/* Ghosts: what entry 1 must still be able to read, from here on, in this incarnation; who is reading. */
byte needs = 255;
byte readers;

#define GATES1 (state1 == PINNED || state1 == LIVE || state1 == CLOSING)
#define MIN(a, b) ((a) < (b) -> (a) : (b))

/* A producer's reserve and commit in one: what it overwrites must not be needed. */
proctype Producer() {
    byte limit, known, low, mask, s;
idle:
    if
    :: s < limit -> goto reserve
    :: s >= limit -> goto refresh
    fi;
/* reserve: passes what is taken, takes the next. */
reserve:
    if
    :: d_step {
        taken == s && s < MSGS ->
        assert(needs == 255 || s < needs + CAP);
        assert(s < floor0 + CAP);
        taken++; s++
    } goto idle
    :: d_step { taken > s -> s++ } goto idle
    :: s >= MSGS -> goto end
    fi;
/* refresh_limit: the generation ... */
refresh:
    if
    :: d_step { known != generation + 1 -> known = generation + 1 } goto gating
    :: d_step { known == generation + 1 } goto floors
    :: s >= MSGS -> goto end
    fi;
/* ... the groups that gate, if it has moved (gating: the states) ... */
gating:
    if :: d_step { true -> mask = GATES1 } fi;
/* ... their floors ... */
floors:
    if :: d_step { true -> low = floor0 } fi;
    if
    :: mask -> d_step { low = MIN(floor1, low) }
    :: !mask
    fi;
/* ... the generation again. */
#ifdef MUTANT_NO_SECOND_LOOK
    d_step { limit = low + CAP; low = 0 };
#else
    if
    :: d_step { known == generation + 1 -> limit = low + CAP; low = 0 }
    :: d_step { known != generation + 1 -> low = 0 } goto refresh
    fi;
#endif
/* commit: raise_tail. A producer that waited in vain forgets the groups. */
    if
    :: s < limit -> d_step { tail = (s > tail -> s : tail) }
#ifdef MUTANT_MASKS_STAY
    :: s >= limit
#else
    :: d_step { s >= limit -> known = 0 }
#endif
    fi;
    goto idle;
end:
    skip
}

/* What group 0 settles. */
proctype Reader0() {
    do
    :: d_step { floor0 < taken -> floor0++ }
    :: taken == MSGS && floor0 == taken -> break
    od
}

#define DIES :: d_step { deaths > 0 -> deaths--; dead = p; admin = false; pin = 0; earliest = 0; latest = 0; w = 0 } goto died

/* begin_group, finish_group, under the lock of whoever makes groups (participant.rs: alone). */
proctype Maker(byte p) {
    byte pin, earliest, latest, w;
    d_step { !admin -> admin = true };
/* begin_group. */
    if
    DIES
    :: d_step { state1 == FREE -> state1 = JOINING; owner1 = p; incarnation1++; assert(readers == 0) }
    :: d_step { state1 != FREE -> admin = false } goto end
    fi;
/* finish_group: the pin: the lowest floor, the tail hint ... */
    if DIES :: d_step { true -> pin = floor0 } fi;
    if DIES :: d_step { true -> pin = MIN(tail, pin) } fi;
    if DIES :: d_step { true -> floor1 = pin; pin = 0 } fi;
#ifndef MUTANT_NO_PIN
/* ... Pinned: it gates; the generation ... */
#ifndef MUTANT_START_BEFORE_PIN
    if DIES :: d_step { true -> state1 = PINNED } fi;
    if DIES :: d_step { true -> generation++ } fi;
#endif
#endif
/* ... the true tail, walked from its hint ... */
    if DIES :: d_step { true -> latest = taken } fi;
/* ... the lowest floor ... */
    if DIES :: d_step { true -> earliest = floor0 } fi;
#ifdef MUTANT_START_BEFORE_PIN
    if DIES :: d_step { true -> state1 = PINNED } fi;
    if DIES :: d_step { true -> generation++ } fi;
#endif
/* ... the start: earliest or latest; what is from there on must not be overwritten. */
    if
    DIES
    :: d_step { true -> floor1 = earliest; needs = earliest; assert(taken <= needs + CAP) }
    :: d_step { LATEST -> floor1 = latest; needs = latest; assert(taken <= needs + CAP) }
    fi;
    if DIES :: d_step { true -> state1 = LIVE; earliest = 0; latest = 0 } fi;
#ifdef MUTANT_NO_PIN
    if DIES :: d_step { true -> generation++ } fi;
#endif
    if DIES :: d_step { true -> admin = false } fi;
/* Group::delete: close_group, any time later. */
    if
    DIES
    :: d_step { state1 == LIVE && owner1 == p -> w = incarnation1 } goto close
    :: true -> goto end
    fi;
close:
    if
    DIES
    :: d_step { state1 == LIVE && incarnation1 == w -> state1 = CLOSING } goto members
    :: d_step { !(state1 == LIVE && incarnation1 == w) } goto end
    fi;
/* has_members ... */
members:
    if
    DIES
#ifndef MUTANT_FREE_WITH_MEMBERS
    :: d_step { member != 0 } goto end
    :: d_step { member == 0 } goto free
#else
    :: d_step { true } goto free
#endif
    fi;
/* ... free_group; the generation. */
free:
    if
    DIES
    :: d_step { state1 == CLOSING && incarnation1 == w -> state1 = FREE; needs = 255 }
    :: d_step { !(state1 == CLOSING && incarnation1 == w) } goto end
    fi;
    if DIES :: d_step { true -> generation++ } fi;
end:
    w = 0;
died:
    skip
}

/* A consumer of group 1: join_group, reads and settles, leave_group. */
proctype Member(byte p) {
    byte w;
    do
    :: d_step { state1 == LIVE -> member = member | (1 << p) };
/* join_group: the bit, then the state. */
        if
        :: d_step { state1 == LIVE -> readers++; w = incarnation1 }
        :: d_step { state1 != LIVE } goto leave
        fi;
        do
        :: d_step {
            floor1 < taken && w == incarnation1 ->
            assert(state1 == LIVE || state1 == CLOSING);
            assert(floor1 + CAP >= taken);
            floor1++; needs = floor1
        }
        :: break
        od;
        readers--;
leave:
/* leave_group: the bit; reap_group: the last one frees a closing group. */
        if :: d_step { true -> member = member & ~(1 << p); w = 0 } fi;
        if
        :: d_step { state1 == CLOSING && member == 0 -> w = incarnation1 };
            if
            :: d_step { state1 == CLOSING && incarnation1 == w -> state1 = FREE; needs = 255; w = 0 };
                generation++
            :: d_step { !(state1 == CLOSING && incarnation1 == w) -> w = 0 }
            fi
        :: !(state1 == CLOSING && member == 0)
        fi
    :: break
    od
}

/* sweep_group: Joining or Pinned of the dead: free_group; then, always, the generation (reap_groups). */
proctype Sweeper() {
    byte w;
end_idle:
    do
    :: dead != NOBODY ->
        if
        :: d_step { (state1 == JOINING || state1 == PINNED) && owner1 == dead -> w = incarnation1 + 1 }
        :: d_step { !((state1 == JOINING || state1 == PINNED) && owner1 == dead) -> w = 0 }
        fi;
        if
        :: d_step { w != 0 && (state1 == JOINING || state1 == PINNED) && incarnation1 + 1 == w -> state1 = FREE; needs = 255 }
        :: d_step { !(w != 0 && (state1 == JOINING || state1 == PINNED) && incarnation1 + 1 == w) }
        fi;
        d_step { w = 0; dead = NOBODY };
/* reap_groups: a closing group without members ... */
        if
        :: d_step { state1 == CLOSING && member == 0 -> w = incarnation1 };
            if
            :: d_step { state1 == CLOSING && incarnation1 == w -> state1 = FREE; needs = 255 }
            :: d_step { !(state1 == CLOSING && incarnation1 == w) }
            fi
        :: !(state1 == CLOSING && member == 0)
        fi;
#ifndef MUTANT_MASKS_STAY
        d_step { w = 0; generation++ }
#else
        d_step { w = 0 }
#endif
    od
}

#ifdef LIVENESS
/* The producers get room in the end, whatever became of the group being made. */
ltl room { <> (taken == MSGS || state1 == LIVE || state1 == CLOSING) }
#endif

init {
    atomic {
        byte n;
        do :: n < PRODUCERS -> run Producer(); n++ :: else -> break od;
        n = 0;
        do :: n < MAKERS -> run Maker(n); n++ :: else -> break od;
        n = 0;
        run Reader0(); run Sweeper();
#ifdef MEMBERS
        do :: n < MEMBERS -> run Member(n); n++ :: else -> break od;
        n = 0
#endif
    }
}
