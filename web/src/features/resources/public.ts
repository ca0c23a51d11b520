export { ResourcesPage, type Place } from './Page';
export { useResources } from './queries';
export { ambiguous, sshCommand, visible } from './model';
