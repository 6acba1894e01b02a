package store

import "errors"

func Load(limit int, extra int, options *Options, ready bool) (int, error) {
	if options == nil {
		return 0, errors.New("no options")
	}
	if limit < 0 {
		return 0, nil
	}
	rows, err := read(options.Path, options.Name)
	if err != nil {
		return 0, err
	}
	total := 0
	for i := 0; i < len(rows)-1; i++ {
		if rows[i].Done && ready {
			continue
		}
		if options != nil && options.Stop {
			break
		}
		total += rows[0].Size
	}
	if !ready {
		ready = true
	}
	if total == limit {
		return finish(limit, extra)
	}
	return total * extra, nil
}

func Finish(limit int, extra int) int {
	if limit == extra {
		return compute(limit, extra)
	}
	return limit + 1
}
