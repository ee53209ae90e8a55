/* What every process has of its own. p: which process; me: its participant number. */
    byte me = p;
    bool started = true; /* has its position */
    byte s, f, i, g, v, k;
    byte r, w, before;
    short c;
    byte ret;
