import { useCallback, useEffect, useState } from 'react';
import { faultOf, type Fault } from '../api/fault';

interface Loaded<T> {
  value: T | null;
  fault: Fault | null;
}

/** One call when the page appears, for documents without a query cache. `load` must be stable. */
export function useLoaded<T>(load: () => Promise<T>): [Loaded<T>, () => void] {
  const [state, setState] = useState<Loaded<T>>({ value: null, fault: null });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && setState({ value, fault: null }),
      (thrown: unknown) => current && setState({ value: null, fault: faultOf(thrown) }),
    );
    return () => {
      current = false;
    };
  }, [load, turn]);
  const again = useCallback(() => {
    setState({ value: null, fault: null });
    setTurn((n) => n + 1);
  }, []);
  return [state, again];
}
