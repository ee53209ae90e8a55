/* cursor.rs: a consumer of an exclusive group: stands by, takes over, hands out in order, steps down. */
#undef FORGET
#define FORGET \
    me = NOBODY; started = false; s = 0; f = 0; i = 0; g = 0; v = 0; r = 0; w = 0; before = 0; c = 0; ret = 0; k = 0; \
    NOTE_DEATH; \
    leads = false; position = 0; settled = 0; opened = 0; noted = 0; \
    guard[0] = 0; guard[1] = 0; attempts[0] = 0; attempts[1] = 0; stale[0] = 0; stale[1] = 0; acked = 0

/* Ghost: what was being looked at when its consumer died must be counted once; what was handed over and not settled may be. */
#define NOTE_DEATH \
    do \
    :: k < GUARDS -> \
        if \
        :: guard[k] != 0 -> \
            held[WORD(group, guard[k] - 1)]--; \
            if \
            :: !stale[k] && HOLDS(todo[group], guard[k] - 1) -> least[WORD(group, guard[k] - 1)]++ \
            :: else \
            fi \
        :: else \
        fi; \
        k++ \
    :: else -> break \
    od; \
    k = floor_[group]; \
    do \
    :: leads && k < opened -> most[WORD(group, k)]++; k++ \
    :: else -> break \
    od; \
    k = 0

#define IS_OWNER (owner[group] == me + 1)
/* Where settle_until and store_floor go on. */
#define TO_ACTIVE 1
#define TO_CURSOR 2
/* The oldest guard, whether it can still settle or not: 255 for none. Guards are sequences + 1. */
#define OLDEST \
    f = 255; k = 0; \
    do \
    :: k < GUARDS -> if :: guard[k] != 0 && guard[k] - 1 < f -> f = guard[k] - 1 :: else fi; k++ \
    :: else -> break \
    od; \
    k = 0

/* Counted: one attempt more, and so says the word. */
#define COUNT_ONE claims[WORD(group, s)] = CLAIM(s, (C_NEVER(c, s) -> 0 : C_ATTEMPT(c)) + 1, me, OPENED)
/* Ghost: acked by this consumer, and told to all, by a Done or by the floor: from then on it does not come again (I5). */
#define ACKED(s) assert(HOLDS(todo[group], s)); acked = acked | BIT(s)
#define TOLD(s) todo[group] = todo[group] & ~(acked & BIT(s)); acked = acked & ~BIT(s)

proctype StandBy(byte p; byte group) {
#include "locals.pml"
    bool leads;
    byte position, settled, opened, noted;
    byte guard[2], attempts[2];
    bool stale[2];
    short acked;

    goto idle;
#include "sweep.pml"
start:
    started = true;

idle:
    if
    :: d_step { !leads && owner[group] == 0 && incarnation[group] < 15 -> v = incarnation[group] } goto take_over
    /* cursor_next, if it may hold one more. */
    :: d_step { leads && (guard[0] == 0 || (GUARDS > 1 && guard[1] == 0)) } goto next
    :: d_step { leads && guard[0] != 0 -> i = 0 } goto end
#if GUARDS > 1
    :: d_step { leads && guard[1] != 0 -> i = 1 } goto end
#endif
    :: d_step { leads && guard[0] == 0 && guard[1] == 0 && handovers > 0 -> handovers-- } goto hand_over
    fi;

/* take_over: the owner word by CAS (it was loaded at `idle`) ... */
take_over:
    if
    DIES
    :: d_step {
        owner[group] == 0 && incarnation[group] == v ->
        owner[group] = me + 1; incarnation[group]++; v = 0; leads = true
    } goto take_floor
    :: d_step { !(owner[group] == 0 && incarnation[group] == v) -> v = 0 } goto idle
    fi;
/* ... the floor ... */
take_floor:
    if
    DIES
    :: d_step { true -> settled = floor_[group]; position = settled; opened = settled } goto take_opened
    fi;
/* ... OPENED: s is one above the next to count, from the top ... */
take_opened:
    if
    DIES
    :: d_step { true -> s = (opened_[group] > settled + CAP -> settled + CAP : opened_[group]) } goto take_noted
    fi;
/* ... what is noted of it ... */
take_noted:
    if
    DIES
    :: d_step { s > settled -> c = claims[WORD(group, s - 1)]; s-- } goto take_note
    :: d_step { s <= settled -> s = 0; noted = settled + CAP } goto idle
    fi;
/* ... is counted ... */
take_note:
    if
    DIES
#ifdef MUTANT_LOWER_BEFORE_COUNT
    :: d_step { true -> opened_[group] = s } goto take_lower
#else
    :: d_step { C_NEVER(c, s) || C_STATE(c) == READY -> COUNT_ONE } goto take_lower
    :: d_step { !(C_NEVER(c, s) || C_STATE(c) == READY) } goto take_lower
#endif
    fi;
/* ... and then OPENED lowered. */
take_lower:
    if
    DIES
#ifdef MUTANT_LOWER_BEFORE_COUNT
    :: d_step { C_NEVER(c, s) || C_STATE(c) == READY -> COUNT_ONE; c = 0 } goto take_noted
    :: d_step { !(C_NEVER(c, s) || C_STATE(c) == READY) -> c = 0 } goto take_noted
#else
    :: d_step { true -> opened_[group] = s; c = 0 } goto take_noted
#endif
    fi;

/* cursor_next: the slot ... */
next:
    if
    DIES
    :: d_step { IS_PUB(slot[AT(position)], position) && position < noted -> s = position; position++ } goto next_noted
    :: d_step { IS_PUB(slot[AT(position)], position) && position >= noted -> s = position; position++ } goto hand
    :: d_step { IS_ABO(slot[AT(position)], position) && settled == position -> position++; s = position; ret = TO_CURSOR } goto settle
    :: d_step { IS_ABO(slot[AT(position)], position) && settled != position -> position++ } goto next
    :: d_step { IS_EARLIER(slot[AT(position)], position) } goto idle
    :: d_step { IS_LAPPED(slot[AT(position)], position) -> assert(false) } goto idle
    fi;
/* ... what is noted of it ... */
next_noted:
    if
    DIES
    :: d_step { C_IN(claims[WORD(group, s)], s, DONE) && settled == s -> s++; ret = TO_CURSOR } goto settle
    :: d_step { C_IN(claims[WORD(group, s)], s, DONE) && settled != s -> s = 0 } goto next
    :: d_step { C_IN(claims[WORD(group, s)], s, OPENED) -> c = claims[WORD(group, s)] } goto next_note
    :: d_step { !C_IN(claims[WORD(group, s)], s, DONE) && !C_IN(claims[WORD(group, s)], s, OPENED) -> c = claims[WORD(group, s)] } goto hand
    fi;
/* ... Opened would say that this hand-over is counted ... */
next_note:
    if
    DIES
    :: d_step { true -> c = CLAIM(s, C_ATTEMPT(c), me, READY); claims[WORD(group, s)] = c } goto hand
    fi;
/* ... hand: OPENED, before the handler runs. */
hand:
    if
    DIES
    :: d_step {
        true ->
        i = (guard[0] == 0 -> 0 : 1);
        v = (C_NEVER(c, s) -> 0 : C_ATTEMPT(c)) + 1;
        /* One consumer, nothing skipped, nothing settled comes again, attempts as they are in truth. */
        assert(IS_OWNER && HOLDS(todo[group], s) && (fresh[group] & BELOW(s)) == 0);
        assert(v > least[WORD(group, s)] && v <= most[WORD(group, s)] + 1);
        assert(bytes[AT(s)] == s + 1);
        fresh[group] = fresh[group] & ~BIT(s);
        held[WORD(group, s)]++;
        guard[i] = s + 1; attempts[i] = v; stale[i] = false;
        if
        :: s >= opened -> opened = s + 1; opened_[group] = opened
        :: else
        fi;
        i = 0; v = 0; s = 0; c = 0
    } goto idle
    fi;

/* cursor_end: cursor_valid: what is noted of the guard's message ... */
end:
    if
    DIES
    :: d_step {
        true ->
        s = guard[i] - 1; v = attempts[i];
        assert(bytes[AT(s)] == guard[i]);
        ret = (!stale[i] && s >= settled && !(s < noted && C_IN(claims[WORD(group, s)], s, DONE)));
        held[WORD(group, s)]--;
        guard[i] = 0; attempts[i] = 0; stale[i] = 0; i = 0
    }
    fi;
/* ... then the guard is settled. `ret`: it can be. */
    if
    :: d_step { ret && s == settled -> ACKED(s); s++; v = 0; ret = TO_ACTIVE } goto settle
    :: d_step { ret && s != settled -> v = 0 } goto end_early
    :: d_step { ret && nacks > 0 -> nacks--; ret = 0 } goto rewind
#ifdef RELEASES
    :: d_step { ret && nacks > 0 -> nacks--; ret = 0; v-- } goto rewind
#endif
    :: d_step { !ret -> s = 0; v = 0; ret = TO_ACTIVE } goto store_floor
    fi;
end_early:
    if
    DIES
    :: d_step { true -> ACKED(s); claims[WORD(group, s)] = C_DONE(s); TOLD(s); noted = (s + 1 > noted -> s + 1 : noted); s = 0; ret = TO_ACTIVE } goto store_floor
    fi;
/* rewind: the attempt is noted ... */
rewind:
    if
    DIES
    :: d_step {
        true ->
        claims[WORD(group, s)] = CLAIM(s, v, me, READY);
        least[WORD(group, s)] = v; most[WORD(group, s)] = v;
        noted = (s + 1 > noted -> s + 1 : noted);
        position = s; v = 0;
#ifdef CHECK_COUNTED_ONCE
        opened = s;
#endif
        /* restarts: older guards from here on are stale. */
        stale[0] = stale[0] || (guard[0] > s); stale[1] = stale[1] || (guard[1] > s)
    } goto rewind_opened
    fi;
/* ... then OPENED. */
rewind_opened:
    if
    DIES
    :: d_step { true -> opened = s; opened_[group] = s; s = 0; ret = TO_ACTIVE } goto store_floor
    fi;

/* settle_until `s`, and on over what was acked before and over holes: each a load ... */
settle:
    if
    DIES
    :: d_step { s < noted && C_IN(claims[WORD(group, s)], s, DONE) -> s++ } goto settle
    :: d_step { !(s < noted && C_IN(claims[WORD(group, s)], s, DONE)) && s < position && IS_ABO(slot[AT(s)], s) -> s++ } goto settle
    :: d_step {
        !(s < noted && C_IN(claims[WORD(group, s)], s, DONE)) && !(s < position && IS_ABO(slot[AT(s)], s)) ->
        v = settled; settled = s; position = (s > position -> s : position);
        OLDEST;
        /* The floor stays below an older guard; a successor is told what is settled above it. */
        v = (f != 255 && f > v -> f : v);
        s = (f == 255 -> 0 : v);
        v = 0
    } goto settle_tell
    fi;
settle_tell:
    if
    DIES
    :: d_step { f != 255 && s < settled -> claims[WORD(group, s)] = C_DONE(s); TOLD(s); s++ } goto settle_tell
    :: d_step { !(f != 255 && s < settled) -> noted = (f != 255 && settled > noted -> settled : noted); s = 0; f = 0 } goto store_floor
    fi;
/* store_floor. */
store_floor:
    if
    DIES
    :: d_step {
        true ->
        OLDEST;
#ifdef MUTANT_FLOOR_PASSES_GUARD
        f = settled;
#else
        f = (f < settled -> f : settled);
#endif
        floor_[group] = (f > floor_[group] -> f : floor_[group]);
        assert(((writing | (todo[group] & ~acked)) & BELOW(floor_[group])) == 0);
        todo[group] = todo[group] & ~BELOW(floor_[group]); acked = acked & ~BELOW(floor_[group]);
        f = 0
    }
    fi;
    if
    :: d_step { ret == TO_ACTIVE -> ret = 0 } goto idle
    :: d_step { ret == TO_CURSOR -> ret = 0 } goto next
    fi;

/* hand_over: OPENED down to what is settled: what is open goes on uncounted; then the owner word. */
hand_over:
    if
    DIES
    :: d_step { true -> opened_[group] = settled; opened = settled } goto hand_over_owner
    fi;
hand_over_owner:
    if
    DIES
    :: d_step { true -> assert(IS_OWNER); owner[group] = 0; leads = false; position = 0; settled = 0; opened = 0; noted = 0; acked = 0 } goto idle
    fi;
gone:
    skip
}
