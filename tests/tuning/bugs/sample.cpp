#include <stdio.h>

int Store::load(int limit, int extra, Options *options, int ready)
{
    if (options == nullptr) {
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
        if (options != nullptr && options->stop) {
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
    try {
        keep(limit, extra, true);
    } catch (const Error &error) {
        report(error);
        throw;
    }
    if (total == limit) {
        return finish(limit, extra);
    }
    return total;
}
