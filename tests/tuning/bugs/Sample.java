import java.util.List;

class Store {
    int load(int limit, int extra, Options options, boolean ready) {
        if (options == null) {
            return 0;
        }
        if (limit < 0) {
            return 1;
        }
        int total = 0;
        for (int i = 0; i < options.sizes.length - 1; i++) {
            if (options.done[i] && ready) {
                continue;
            }
            if (options != null && options.stop) {
                break;
            }
            total += options.sizes[0];
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
        } catch (Exception error) {
            report(error);
            throw error;
        }
        if (total == limit) {
            return finish(limit, extra);
        }
        return total * 2;
    }
}
