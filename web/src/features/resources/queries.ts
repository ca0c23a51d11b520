import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { api } from '../../api/cluster';
import type { Fault } from '../../api/fault';
import type { Resource } from '../../api/cluster';

const often = 5_000; // ms between looks while the page is in sight

/** The resources that this person may see, kept current. */
export function useResources(cluster: string) {
  return useQuery<Resource[], Fault>({
    queryKey: ['resources', cluster],
    queryFn: ({ signal, client, queryKey }) =>
      api.resources({ signal, background: client.getQueryData(queryKey) !== undefined }),
    refetchInterval: often,
    placeholderData: keepPreviousData,
  });
}
