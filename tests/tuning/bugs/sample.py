import threading

from helpers import again, connect, copy_file, default_user, fetch, report, use


class Store:
    def __init__(self, path, seen=None):
        super().__init__()
        if seen is None:
            seen = []
        self.path = path
        self.seen_names = seen  # naïve: é
        self.old_names = seen
        self.lock = threading.Lock()

    def load(self, limit, default_limit):
        names = []
        with open(self.path) as file:
            for line in file:
                names.append(line)
        if limit is None:
            return names
        if not names and limit > 0:
            raise ValueError("nothing here")
        for index, name in enumerate(names, 1):
            if index >= limit and name is not None and name.strip():
                break
            if name == self.seen_names[index - 1]:
                continue
            self.old_names[0] = name
        return sorted(names[1:limit], key=len)

    async def send(self, options, user):
        count = options["first"] + options.get("second")
        flag = user.name if user else default_user()
        with self.lock:
            count += 1
            self.path = copy_file(options, user)
        try:
            result = await fetch(count, flag)
        except OSError as error:
            report(error)
            raise
        if result == count:
            total = 1
        elif result is None:
            total = 2
        else:
            total = int(result) * 10
        connection = connect(total)
        connection.close()
        flag = flag.strip()
        for part in range(total):
            use(part, reverse=True)
        while not result:
            result = again(result)
        return result

    def parts(self, rows, *values):
        width = -self.margin + max(rows)
        head = f"{width} wide"
        if self.seen_names[0] == head:
            raise ValueError("seen already")
        yield again(*values, width, end=self.path.resolve())
        yield from self.load(width, str(head))
        self.lock.release()
