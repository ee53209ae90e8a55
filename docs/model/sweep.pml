/* Attaching, looking for the dead, sweeping, leaving: part of every process. Entered at `attach` by a new process and at
 * `look` by one that waits; goes on at `idle`, or at `start` if the process has no position yet. */

died:
#ifdef RESTART
    /* A new process comes in its place. */
    goto attach;
#else
    goto gone;
#endif

#ifdef SWEEPS
/* participant.rs: take_entry: an entry that is free ... */
attach:
    if
    DIES
    :: d_step { ANY(IS_FREE) -> LOWEST(IS_FREE) } goto attach_lock
    :: d_step { !ANY(IS_FREE) } goto look
    fi;
/* ... whose lock can be had (Locks::try_lock) ... */
attach_lock:
    if
    DIES
    :: d_step { lock[v] == 0 -> lock[v] = p + 1 } goto join
    :: d_step { lock[v] != 0 -> v = 0 } goto attach
    fi;
/* ... join.rs: join. */
join:
    if
    DIES
    :: d_step { entry[v] == FREE -> entry[v] = LIVE; me = v; v = 0; CHECK_UNNAMED(me) } goto look
    :: d_step { entry[v] != FREE -> lock[v] = 0; v = 0 } goto attach
    fi;

/* participant.rs: sweep_dead. Asking about somebody who lives changes nothing, so only the dead are asked about. */
look:
    if
    DIES
    :: d_step { ANY(IS_DEAD) -> LOWEST(IS_DEAD) } goto look_lock
    :: d_step { !ANY(IS_DEAD) && me == NOBODY } goto attach
    :: d_step { !ANY(IS_DEAD) && me != NOBODY && !started } goto start
    :: d_step { !ANY(IS_DEAD) && me != NOBODY && started } goto idle
    fi;
/* participant.rs: sweep_if_dead: try_lock, and the entry again under the lock. */
look_lock:
    if
    DIES
    :: d_step { lock[v] == 0 -> lock[v] = p + 1 } goto look_again_at_entry
    :: d_step { lock[v] != 0 -> v = 0 } goto look
    fi;
look_again_at_entry:
    if
    DIES
#ifdef MUTANT_FREE_FIRST
    :: d_step { entry[v] == LIVE -> entry[v] = FREE } goto sweep_slot
#else
    :: d_step { entry[v] == LIVE } goto sweep_slot
#endif
    :: d_step { entry[v] == FREE } goto sweep_unlock
    fi;

/* sweep.rs: sweep_slots: the next reservation that names the dead, and its slot word ... */
sweep_slot:
    if
    DIES
    :: d_step {
        true ->
        do :: i < CAP && !OPEN_RESERVATION(i) -> i++ :: else -> break od;
        if :: i < CAP -> r = reservation[i]; w = slot[i] :: else -> i = 0 fi
    }
    fi;
    if
    :: r != 0 -> goto sweep_slot_abort
    :: else -> goto sweep_group
    fi;
/* ... and the CAS (I9). */
sweep_slot_abort:
    if
    DIES
    :: d_step {
        slot[i] == w ->
        /* Whole or not at all: what was published stays. */
        assert(HOLDS(writing, R_SEQ(r)));
        slot[i] = ABO(R_SEQ(r));
        writing = writing & ~BIT(R_SEQ(r));
        bytes[i] = 0; /* whatever they are */
        r = 0; w = 0; i++
    } goto sweep_slot
    :: d_step { slot[i] != w -> r = 0; w = 0; i++ } goto sweep_slot
    fi;

/* sweep.rs: sweep_group: in a shared group the next claim word that names the dead ... */
sweep_group:
    if
    DIES
    :: d_step {
        g < SHARED ->
        do :: i < CAP && !SWEPT_CLAIM(g * CAP + i) -> i++ :: else -> break od;
        if
        :: i < CAP -> c = claims[g * CAP + i]
#ifndef MUTANT_NO_READY_HINT
        :: else -> s = floor_[g]
#else
        :: else
#endif
        fi
    }
    :: d_step { g >= SHARED && g < GROUPS && owner[g] == v + 1 -> f = incarnation[g] } goto sweep_owner
    :: d_step { g >= SHARED && g < GROUPS && owner[g] != v + 1 -> g++ } goto sweep_group
    :: d_step { g == GROUPS -> g = 0 } goto sweep_leave
    fi;
    if
    :: d_step { i < CAP } goto sweep_claim
#ifdef MUTANT_NO_READY_HINT
    :: d_step { i == CAP -> i = 0; g++ } goto sweep_group
#else
    :: d_step { i == CAP -> i = 0 } goto sweep_hint
#endif
    fi;
/* ... and the CAS, the attempt kept ... */
sweep_claim:
    if
    DIES
    :: d_step {
        claims[g * CAP + i] == c ->
#ifdef MUTANT_FORGET_ATTEMPT
        claims[g * CAP + i] = CLAIM(C_SEQ(c), 0, C_OWNER(c), READY);
#else
        claims[g * CAP + i] = CLAIM(C_SEQ(c), C_ATTEMPT(c), C_OWNER(c), READY);
#endif
        c = 0; i++
    } goto sweep_group
    :: d_step { claims[g * CAP + i] != c -> c = 0; i++ } goto sweep_group
    fi;
/* ... claim.rs: look_again: the ready hint back to the floor, which was loaded above (settle.rs: note_ready). */
sweep_hint:
    if
    DIES
    :: d_step { true -> c = ready[g]; unmoved[g] = unmoved[g] | BIT(p) } goto sweep_hint_set
    fi;
sweep_hint_set:
    if
    DIES
    :: d_step { HOLDS(unmoved[g], p) -> LOWER_HINT(s); c = 0; s = 0; g++ } goto sweep_group
    :: d_step { !HOLDS(unmoved[g], p) -> c = 0 } goto sweep_hint
    fi;
/* An exclusive group's owner. */
sweep_owner:
    if
    DIES
    :: d_step { owner[g] == v + 1 && incarnation[g] == f -> owner[g] = 0; f = 0; g++ } goto sweep_group
    :: d_step { !(owner[g] == v + 1 && incarnation[g] == f) -> f = 0; g++ } goto sweep_group
    fi;

/* join.rs: leave: the entry last. */
sweep_leave:
    if
    DIES
    :: d_step { true -> entry[v] = FREE } goto sweep_unlock
    fi;
sweep_unlock:
    if
    DIES
    :: d_step { true -> lock[v] = 0; v = 0 } goto look
    fi;
#endif
