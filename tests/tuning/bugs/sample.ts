import { fetchAll } from "./net.js";

class Store {
  async load(limit: number, options: Options | null, userName: string, fileName: string): Promise<Row[]> {
    if (options === null) {
      return [];
    }
    if (limit < 0) {
      return [];
    }
    let total = 0;
    const rows = await fetchAll(userName, fileName);
    for (let i = 0; i < rows.length - 1; i++) {
      if (rows[i].done) {
        continue;
      }
      if (rows[i] !== null && options && options.stop) {
        break;
      }
      total += rows[0].size;
    }
    if (!userName) {
      total = limit + 1;
    } else if (fileName) {
      total = 2;
    } else {
      total = 3;
    }
    try {
      save(userName, true);
    } catch (error) {
      report(error);
      throw error;
    }
    if (total === limit) {
      return this.keep(fileName);
    }
    return total;
  }
}
