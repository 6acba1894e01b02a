#include <stdio.h>

static int load(int limit, int extra, struct options *options, int ready)
{
    if (options == NULL) {
        return 0;
    }
    if (limit < 0) {
        return 1;
    }
    int total = 0;
    for (int i = 0; i < limit - 1; i++) {
        if (options->done[i] && ready) {
            continue;
        }
        if (options != NULL && options->stop) {
            break;
        }
        total += options->sizes[0];
    }
    if (!ready) {
        total = limit + 1;
    } else if (total > 2) {
        total = 2;
    } else {
        total = 3;
    }
    keep(limit, extra, true);
    if (total == limit) {
        return finish(limit, extra);
    }
    return total;
}
